"""What a run shows and leaves behind: console, result file, figure, W&B."""
