"""The data of a training: one dataset or a mixture of several, checked, split, normalised and encoded."""
