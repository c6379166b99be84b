"""Methods of others: read from a file or from an installed package, and checked."""
