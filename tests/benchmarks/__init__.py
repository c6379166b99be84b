"""Measurements, run by hand: `python -m tests.benchmarks.overhead`. They assert no time."""
