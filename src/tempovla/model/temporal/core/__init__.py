"""Temporal cores, and the encoder that chooses one."""
