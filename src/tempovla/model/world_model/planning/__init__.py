"""Planners: searching for the actions that a world model expects most of."""
