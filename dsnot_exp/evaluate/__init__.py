"""Model quality: perplexity and zero-shot accuracy."""
