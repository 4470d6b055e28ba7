"""Where the shipped configurations lie."""

from pathlib import Path

import deta


def config_dir() -> Path:
    """The folder of configurations: inside an installed package, or at the top of a checkout.

    Raises:
        FileNotFoundError: It is in neither place.
    """
    package = Path(deta.__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no configurations beside {package}: reinstall deta")
