"""The algorithms, pure: tensors in, tensors out. No model, no configuration, no I/O."""
