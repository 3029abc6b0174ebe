"""Action heads: from a representation to a chunk of actions."""
