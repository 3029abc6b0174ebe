"""Memories of vectors: buffer, working, hierarchical."""
