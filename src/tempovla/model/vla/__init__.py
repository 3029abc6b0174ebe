"""Whole policies."""
