"""Initial masks: one file per method."""
