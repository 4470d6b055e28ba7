"""Where a command writes, checked before Hydra writes there."""

import sys
import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from deta.utils.files import named
from deta.utils.names import shown

_BYTES_OF_RECORDS = 1 << 17
"""More than what Hydra writes."""


class RequirePlace(Callback):
    """Ends the command with one message where its directory cannot be made or written; Hydra would show a trace."""

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        """Check the directory of a run."""
        HydraConfig.instance().set_config(config)  # its name is made of choices; Hydra itself does so later
        _require(config, config.hydra.run.dir, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Check the directory of a sweep."""
        _require(config, config.hydra.sweep.dir, "hydra.sweep.dir")


def require_inside(name: object, folder: str, *, key: str, own: str) -> None:
    """Refuse a name that leads out of the folder of runs, where a directory has it in its path.

    Args:
        name: As it is given by ``key``.
        folder: The directory.
        key: Of the name.
        own: Key that gives the directory as a whole.

    Raises:
        ValueError: It does.
    """
    if ".." in Path(str(name)).parts and f"/{name}" in folder:
        raise ValueError(
            f"{key}={shown(str(name))} leads out of the folder of runs: give {own}=<folder> for a place of your own"
        )


def _require(config: DictConfig, place: str, key: str) -> None:
    folder = Path(place)
    try:
        require_inside(config.get("name"), place, key="name", own=key)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_BYTES_OF_RECORDS))
    except ValueError as error:
        print(f"deta: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"deta: {named(error, folder)}: the results cannot be written, give another {key}", file=sys.stderr)
        sys.exit(1)
