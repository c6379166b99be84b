"""Tables: which runs belong in which cell."""
