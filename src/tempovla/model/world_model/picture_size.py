"""The size of the pictures that world models read; without torch, as settings name it."""

PICTURE_PX = 64
"""Side of the pictures [px]."""
