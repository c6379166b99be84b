"""One run: its plan and checks, its inputs, its stages, its state."""
