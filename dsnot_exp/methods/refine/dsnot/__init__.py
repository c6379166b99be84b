"""DSnoT: the method, its cycles, and kernels that run them faster."""
