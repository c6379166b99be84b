"""Corpora, and sampling of calibration and evaluation tokens as in the papers."""
