"""One block after the other: collect statistics, solve, propagate, remember."""
