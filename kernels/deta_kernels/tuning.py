"""The fastest launch of every kind of call on the machine at hand, measured once and kept in a file.

With ``DETA_AUTOTUNE=1`` the first call of a kind times all candidates, which takes seconds. The choice is written to
``deta/launches.json`` in ``XDG_CACHE_HOME`` (default ``~/.cache``) and read by later processes: another launch rounds
differently, so a continued training must not measure anew. Deleting the file does.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deta_kernels.configs import CANDIDATES, Config

_LOGGER = logging.getLogger(__name__)
_known: dict[str, Config] = {}


def launches_file() -> Path:
    """Where choices are kept."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "deta" / "launches.json"


def tuned_config(kernel: str, value: Tensor, shape: Sequence[int], run: Callable[[Config], None]) -> Config:
    """The launch that this process or an earlier one has found fastest, or else finds here.

    Args:
        kernel: ``forward``, ``backward`` or ``deterministic``.
        value: Tells device and dtype.
        shape: What else the best launch depends on.
        run: Launches the kernel; called many times with its result overwritten.

    Raises:
        ValueError: The file does not hold launches.
    """
    import triton

    dtype = str(value.dtype).removeprefix("torch.")
    place = f"{torch.cuda.get_device_name(value.device)}, triton {triton.__version__}"
    key = f"{place}: {kernel} {dtype} {' '.join(str(int(number)) for number in shape)}"
    if key not in _known:
        _known.update(_read())
    if key not in _known:
        _known[key] = _fastest(run)
        _keep(key, _known[key])
        _LOGGER.info("tuned %s: %s", key, _known[key])
    return _known[key]


def _fastest(run: Callable[[Config], None]) -> Config:
    from triton.testing import do_bench

    return min(CANDIDATES, key=lambda config: do_bench(lambda: run(config)))


def _read() -> dict[str, Config]:
    path = launches_file()
    try:
        stored = json.loads(path.read_text())
        return {str(key): Config(int(elements), int(warps)) for key, (elements, warps) in stored.items()}
    except FileNotFoundError:
        return {}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must map kinds of calls to [elements, warps] ({error}); delete it") from error


def _keep(key: str, config: Config) -> None:
    """Add a choice to what the file holds by now; a reader sees the old file or the new one."""
    path = launches_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    launches = {**_read(), key: config}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        json.dump({name: (one.block_elements, one.num_warps) for name, one in launches.items()}, file, indent=1)
    Path(file.name).replace(path)
