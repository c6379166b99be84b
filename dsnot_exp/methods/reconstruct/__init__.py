"""Updates of the kept weights under a fixed mask: one file per method."""
