"""Reports a run while it goes: to W&B, TensorBoard or a CSV file."""
