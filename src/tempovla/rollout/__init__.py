"""Closed-loop evaluation: contexts from live observations, action chunks, many environments at once, honest figures."""
