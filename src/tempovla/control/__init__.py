"""Trained policies that act: the loader, controllers, contexts of live observations, exported files."""
