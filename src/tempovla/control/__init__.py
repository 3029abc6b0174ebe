"""A trained policy as something that acts: controllers, contexts of live observations, files that were exported."""
