"""Models: how they are found and loaded, their blocks, and the linear layers of a block."""
