"""Demonstrations of scripted experts, recorded as datasets."""
