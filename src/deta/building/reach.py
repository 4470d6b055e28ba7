"""Values of a file or record that reach further than a training: addresses, devices, numbers that fill a machine.

Nothing here imports PyTorch.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deta.building.trust import Trust
from deta.utils.files import expanded

_ADDRESS = re.compile(r"(?s)[A-Za-z][\w+.-]*:|.*://|//|\\\\")
"""Begin of a text that names a remote store, a page or a hub rather than a path: ``s3://``, ``hf-hub:``, ``//host``."""
_DEVICES = re.compile(r"(/(dev|proc|sys|net)|(\.\./)+(dev|proc|sys))(/|$)|/$")
"""Normal forms of paths that are no files of anybody."""
_MOST: Mapping[str, float] = {
    "num_workers": 1024,
    "batch_size": 4096,
    "eval_batch_size": 4096,
    "max_image_pixels": 1e9,
    "pad_to": 16_384,
    "pad_to_multiple": 16_384,
    "short_sides": 16_384,
    "max_long_side": 16_384,
    "num_train": 1_000_000,
    "num_val": 1_000_000,
}
"""Last part of a key: more of it in a file than a user of the file would expect to pay for."""


def far_settings(config: Any, place: str) -> dict[str, str]:  # noqa: ANN401 - plain containers
    """Settings that reach further, as ``key=value``, and why.

    Args:
        config: Plain containers.
        place: Their key in the whole configuration.
    """
    reasons = ((key, value, _reason(key, value)) for key, value in flat(place, config))
    return {f"{key}={value}": reason for key, value, reason in reasons if reason is not None}


def require_near(config: Any, place: str, trust: Trust) -> None:  # noqa: ANN401 - plain containers
    """Refuse settings that reach further, unless trust covers them or their keys.

    Raises:
        ValueError: There is one; the message names it.
    """
    for setting, reason in far_settings(config, place).items():
        key = setting.partition("=")[0]
        if not trust.covers(setting) and not trust.covers(key):
            shown = setting if len(setting) <= 200 else f"{setting[:200]}..."
            raise ValueError(
                f"{trust.source} asks for {shown!r}, which {reason}: give {key}=... yourself where the command has "
                f"it, or trusted=[{key}] if you know who wrote the file"
            )


def flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - plain containers
    """Every value with the path of its keys; those of a list have that of the list."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(f"{key}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from flat(key, inner)


def _reason(key: str, value: Any) -> str | None:  # noqa: ANN401 - a value of any type
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value).strip()
        path = str(expanded(text)) if text.startswith("~/") else text
        if _ADDRESS.match(text) or (text and _DEVICES.match(os.path.normpath(path))):
            return "names a remote address or a device"
    most = _MOST.get(re.split(r"[./@]", key)[-1])
    if most is not None and isinstance(value, (int, float)) and value > most:
        return f"is more than {most:,.0f}"
    return None
