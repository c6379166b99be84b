"""Mask refiners: one file or folder per method."""
