"""``python -m scripts.reference.make_outcome RUN FILE``: see ``outcome``, with the code of a checkout."""

import sys
from pathlib import Path

from scripts.reference.outcome import outcome
from deta.utils.files import write_json

if __name__ == "__main__":
    write_json(Path(sys.argv[2]), outcome(Path(sys.argv[1])))
