"""Make a saved sparse model ready for others: a folder in one of three formats, and the hub."""
