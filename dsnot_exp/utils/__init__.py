"""Errors, files, console, processes: used by every room; imports no other room."""
