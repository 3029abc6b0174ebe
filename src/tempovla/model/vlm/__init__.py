"""Vision-language parts: image tokenizers."""
