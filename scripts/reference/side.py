"""One side of a comparison, in a process of its own that runs the ``deta`` of the checkout ``DETA_CODE``."""

import json
import logging
import os
import sys
import warnings
from pathlib import Path

import deta


def main() -> None:
    """``record NAME FOLDER`` or ``repeat NAME FOLDER RESULT``."""
    code = Path(os.environ["DETA_CODE"])
    if not Path(deta.__file__).is_relative_to(code):
        raise SystemExit(f"the code is that of {deta.__file__}, not of {code}")
    from scripts.reference.steps import record, repeat

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    action, name, folder, *result = sys.argv[1:]
    if action == "record":
        record(name, Path(folder))
    else:
        Path(result[0]).write_text(json.dumps(repeat(name, Path(folder))))


if __name__ == "__main__":
    main()
