"""Closed-loop evaluation of policies in many environments at once, and success rates with their uncertainty."""
