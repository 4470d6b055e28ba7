"""``deta train`` that receives SIGTERM after a step: ``python -m scripts.reference.stop STEP train WORDS``."""

import sys

from deta.cli import main
from scripts.reference.door import stopped_after

if __name__ == "__main__":
    with stopped_after(int(sys.argv.pop(1))):
        main()
