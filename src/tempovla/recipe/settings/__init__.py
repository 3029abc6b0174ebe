"""Settings as users write them, in YAML and on the command line, and the configs that they become."""
