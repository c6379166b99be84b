"""The output of a run: result.json, the closing table, the error plot, the W&B run."""
