"""What training reads: one dataset or a mixture of several, checked, split, normalised and encoded."""
