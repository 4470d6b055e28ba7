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
        _require_name(config, config.hydra.run.dir)
        _require(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Check the directory of a sweep."""
        _require_name(config, config.hydra.sweep.dir)
        _require(Path(config.hydra.sweep.dir), "hydra.sweep.dir")


def _require_name(config: DictConfig, folder: str) -> None:
    """Refuse a name that leads out of the folder of runs, where the directory has it."""
    name = str(config.get("name", ""))
    if ".." in Path(name).parts and f"/{name}" in folder:
        remedy = "give hydra.run.dir=<folder> for a place of your own"
        print(f"deta: name={shown(name)} leads out of the folder of runs: {remedy}", file=sys.stderr)
        sys.exit(1)


def _require(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_BYTES_OF_RECORDS))
    except OSError as error:
        print(f"deta: {named(error, folder)}: the results cannot be written, give another {key}", file=sys.stderr)
        sys.exit(1)
