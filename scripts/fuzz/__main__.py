"""Try hostile inputs on the code that reads them.

    python -m scripts.fuzz annotations images checkpoints sides overrides --number 2000 --seed 7

Prints what became of them and keeps the bad ones with what was done to them. Exit status 1 if any was neither refused
in one message that names its file or key, nor accepted as what it says.
"""

import argparse
import logging
import sys
import warnings
from pathlib import Path

from scripts.fuzz.annotations import Annotations
from scripts.fuzz.checkpoints import Checkpoints
from scripts.fuzz.images import Images
from scripts.fuzz.overrides import Overrides
from scripts.fuzz.runner import report
from scripts.fuzz.sides import Sides
from scripts.fuzz.trial import FINE, Kind

KINDS: tuple[type[Kind], ...] = (Annotations, Images, Checkpoints, Sides, Overrides)


def main() -> None:
    """Try them."""
    known = {kind.name: kind for kind in KINDS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=known)
    parser.add_argument("--number", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz"), help="where bad inputs are kept")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    is_fine = True
    for name in options.kinds:
        counts = report(known[name](), seed=options.seed, number=options.number, output=options.output)
        is_fine &= set(counts) <= set(FINE)
    sys.exit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
