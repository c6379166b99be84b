"""What a run leaves: result.json, the closing table, the error plot, the W&B run."""
