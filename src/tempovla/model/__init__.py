"""Models: tensors in, tensors and loss terms out; they know nothing of files, loggers or simulators."""
