"""``python -m deta``."""

from deta.cli import main

if __name__ == "__main__":
    main()
