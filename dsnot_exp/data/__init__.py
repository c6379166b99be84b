"""Corpora, and the papers' way of sampling calibration and evaluation tokens from them."""
