"""World models: predicting representations of the future."""
