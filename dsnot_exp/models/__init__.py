"""Models: where they come from, their blocks, and the linear layers inside a block."""
