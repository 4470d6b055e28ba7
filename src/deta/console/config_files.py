"""Configuration files, each of which a process reads once, however many configurations it composes."""

import os
import pickle
from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

_READ: dict[tuple[str, int, int, int], bytes] = {}
"""What was read, by path, file, time of its last change of any kind, and size.

Pickles: parsing takes twenty times as long as a copy.
"""


class ConfigFiles(ConfigRepository):
    """Hydra's files, which a sweep of a hundred runs, each composed for itself, need not parse a hundred times."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A file of the search path, of which everything may be changed; None if there is none."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != "file":
            return super().load_config(config_path)
        path = os.path.realpath(Path(source.path) / source._normalize_file_name(config_path))
        status = Path(path).stat()
        key = path, status.st_ino, status.st_ctime_ns, status.st_size
        if key not in _READ:
            _READ[key] = pickle.dumps(super().load_config(config_path))
        found: ConfigResult = pickle.loads(_READ[key])
        return found
