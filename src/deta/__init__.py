"""Label assignment in detection transformers: training, evaluation and comparison of DETA."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("deta")
except PackageNotFoundError:  # a checkout on PYTHONPATH, as on a machine that is lent for a check
    __version__ = "not installed"
