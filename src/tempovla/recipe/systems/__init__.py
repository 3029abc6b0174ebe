"""One module per trainable system: composes the rooms into its training."""
