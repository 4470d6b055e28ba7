"""Label assignment in object detectors: training, evaluation and comparison.

Importing this is cheap: what it offers is imported when it is first used.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deta.api import Run as Run
    from deta.api import compare_rules as compare_rules
    from deta.api import train as train
    from deta.building.model import Model as Model
    from deta.building.model import load as load
    from deta.inference import Box as Box
    from deta.inference import Result as Result

DISTRIBUTION = "deta-detection"
"""What package installers call it."""
try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # a checkout on PYTHONPATH, as on a machine that is lent for a check
    __version__ = "not installed"

_PLACES = {
    "Box": "deta.inference",
    "Model": "deta.building.model",
    "Result": "deta.inference",
    "Run": "deta.api",
    "compare_rules": "deta.api",
    "load": "deta.building.model",
    "train": "deta.api",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'deta' has no attribute {name!r}; it offers {', '.join(_PLACES)}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
