"""Result files -> tables."""
