"""Allocators, which choose how much of each layer is pruned: one file per method."""
