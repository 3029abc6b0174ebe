"""Retrieval: a policy looks up what was seen and done in earlier episodes that began like the present one."""
