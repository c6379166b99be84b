"""One run: plan and checks, inputs, stages, state on disk."""
