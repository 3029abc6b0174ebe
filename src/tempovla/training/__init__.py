"""Training: one loop for every policy, resumable bit for bit, in one process or under torchrun."""
