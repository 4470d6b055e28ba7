"""Hostile inputs, made by a seed and tried on the code that reads them; see ``python -m scripts.fuzz --help``."""
