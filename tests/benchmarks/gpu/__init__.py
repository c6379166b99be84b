"""Everything that is open about GPUs, in one command: python -m tests.benchmarks.gpu --help"""
