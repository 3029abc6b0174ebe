"""Episodes on disk and in memory, windows over them, and the order in which training sees them."""
