"""Training of the sparse model under its mask: one file per method."""
