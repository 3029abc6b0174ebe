"""Settings in YAML and on the command line, and the configs that are built from them."""
