"""Label assignment in detection transformers: training, evaluation and comparison of DETA."""

from importlib.metadata import version

__version__ = version("deta")
