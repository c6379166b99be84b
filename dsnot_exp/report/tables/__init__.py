"""Tables: which runs go into which cell."""
