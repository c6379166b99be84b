"""The Python API: what the command line does, for models and data in memory."""
