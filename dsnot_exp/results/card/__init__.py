"""The model card of a saved model: README.md beside its weights."""
