"""Copy of finished runs what documents rest on: settings, words, data, versions, metrics and scores, no weights.

    python scripts/keep_results.py runs/systems_shapes docs/results/systems_shapes

Places of this machine are left out of the copies: a run's folder becomes ``<run>``, the home folder ``~``, and the
command that names both is dropped, since ``words.json`` holds its words. Runs that are not done are named and skipped.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

KEPT = ("config.yaml", "words.json", "data.json", "done.json", "environment.json", "metrics.csv", "classes.csv")
OF_THE_MACHINE = ("command", "started")
"""Entries of ``environment.json`` that are left out."""


def keep(runs: Path, target: Path) -> tuple[list[str], list[str]]:
    """Copy the records of every finished run.

    Args:
        runs: Folder of a study or sweep, its runs one level below.
        target: Folder of the copies, made anew for each run.

    Returns:
        Names of the runs that were copied, and of those that are not done.

    Raises:
        OSError: The folder holds no run.
    """
    folders = sorted(path.parent for path in runs.glob("*/config.yaml"))
    if not folders:
        raise FileNotFoundError(f"{runs} holds no run: give the folder of a study or of a sweep")
    done = [folder for folder in folders if (folder / "done.json").is_file()]
    for folder in done:
        shutil.rmtree(target / folder.name, ignore_errors=True)
        for path in [*(folder / name for name in KEPT), *folder.glob("evaluations/*/metrics.json")]:
            if path.is_file():
                _copy(path, folder, target / folder.name / path.relative_to(folder))
    return [folder.name for folder in done], [folder.name for folder in folders if folder not in done]


def _copy(path: Path, run: Path, target: Path) -> None:
    text = path.read_text(encoding="utf-8")
    recorded = re.search(r"^run_dir: (/.+)$", (run / "config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    for place, name in ((str(run.resolve()), "<run>"), (recorded and recorded[1], "<run>"), (str(Path.home()), "~")):
        text = text.replace(place, name) if place else text
    if path.name == "environment.json":
        content = {key: value for key, value in json.loads(text).items() if key not in OF_THE_MACHINE}
        text = json.dumps(content, indent=1) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def main() -> None:
    """Copy, and say what was copied and what is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    kept, unfinished = keep(arguments.runs, arguments.target)
    print(f"{len(kept)} runs kept in {arguments.target}; not done: {', '.join(unfinished) or 'none'}")


if __name__ == "__main__":
    main()
