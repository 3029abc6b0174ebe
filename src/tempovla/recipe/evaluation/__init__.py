"""Evaluation of policies: in simulators, on held-out demonstrations, and against another policy."""
