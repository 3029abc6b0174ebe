"""The command `tempovla` and its subcommands."""
