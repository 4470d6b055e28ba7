"""Where a command writes, checked before Hydra writes there."""

import sys
import tempfile
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from deta.utils.files import named

_BYTES_OF_RECORDS = 1 << 17
"""More than what Hydra writes."""


class RequirePlace(Callback):
    """Ends the command with one message where its directory cannot be made or written; Hydra would show a trace."""

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        """Check the directory of a run."""
        HydraConfig.instance().set_config(config)  # its name is made of choices; Hydra itself does so later
        _require(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Check the directory of a sweep."""
        _require(Path(config.hydra.sweep.dir), "hydra.sweep.dir")


def _require(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_BYTES_OF_RECORDS))
    except OSError as error:
        print(f"deta: {named(error, folder)}: the results cannot be written, give another {key}", file=sys.stderr)
        sys.exit(1)
