"""Episodes on disk and in memory, windows over them, and the order of training samples."""
