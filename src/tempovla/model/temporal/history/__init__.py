"""Encoders of what was seen and done in the last steps."""
