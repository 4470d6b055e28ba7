"""Record seeded optimizer steps with one state of the code, and hold another one against them.

    python -m scripts.reference record --commit COMMIT --output DIR      # or --code CHECKOUT
    python -m scripts.reference compare DIR

``record`` runs 50 steps of the demo, its one-to-one twin, the rule of the release and a rule whose draws decide in
every step, with the code of a checkout, as they are and with relative noise of 1e-7 on all gradients, three seeds.
``compare`` makes the same steps with the code beside this script, from the recorded weights and with the recorded
random numbers of the rules: every loss of steps 1 to 8 must agree to 1e-5 of its value, later ones to ten times what
the noise has done. It prints a table; exit status 1 if they do not. The record holds for one kind of machine and
version of PyTorch; one thread is used.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("deta_shapes", "one_to_one", "release", "sampled")
NUM_EXACT, TOLERANCE, NUM_SPREADS = 8, 1e-5, 10.0


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("folder", type=Path, nargs="?", help="of the record, for compare")
    parser.add_argument("--output", type=Path, help="new folder of the record")
    parser.add_argument("--code", type=Path, help="checkout whose code makes the steps; default: that of this script")
    parser.add_argument("--commit", help="of a checkout that is made for the time being")
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--summary", type=Path, help="file for all recorded losses and spreads")
    options = parser.parse_args()
    folder = options.output if options.action == "record" else options.folder
    if folder is None:
        parser.error("record needs --output, compare the folder of a record")
    if options.action == "compare":
        sys.exit(not _compare(folder.absolute(), options.names))
    with checkout(options.code, options.commit) as code:
        for name in options.names:
            run_with(code, "scripts.reference.side", "record", name, str((folder / name).absolute()))
            print(f"{name}: recorded", flush=True)
    if options.summary is not None:
        _summarise(folder, options.summary)


@contextmanager
def checkout(code: Path | None, commit: str | None) -> Iterator[Path]:
    """A checkout: the given one, that of a commit until the end of the block, or the one of this script."""
    if commit is None:
        yield (code or ROOT).absolute()
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "code"
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--detach", tree, commit], check=True, capture_output=True
        )
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)


def run_with(code: Path, module: str, *words: str) -> None:
    """Run a module of this checkout, on one thread, with the ``deta`` of ``code``."""
    places = os.pathsep.join(str(place) for place in (code / "src", code / "kernels", ROOT))
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1", "DETA_CODE": str(code)}
    done = subprocess.run([sys.executable, "-m", module, *words], env=environment, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(words)}: exit {done.returncode}")


def _compare(folder: Path, names: list[str]) -> bool:
    from deta.utils.files import read_json
    from scripts.reference.steps import recorded

    is_fine = True
    print(f"{'':<12} {'steps 1-8: relative':>20} {'steps 9-50: spreads':>20}  worst")
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            found = Path(place) / "losses.json"
            run_with(ROOT, "scripts.reference.side", "repeat", name, str(folder / name), str(found))
            losses = read_json(found, list[dict[str, float]])
        early, late, worst = _differences(*recorded(folder / name), losses)
        is_same = early <= TOLERANCE and late <= NUM_SPREADS
        is_fine &= is_same
        print(f"{name:<12} {early:>20.2e} {late:>20.2e}  {worst if early or late else 'identical'}", flush=True)
    return is_fine


def _differences(
    losses: list[dict[str, float]], spread: list[dict[str, float]], found: list[dict[str, float]]
) -> tuple[float, float, str]:
    """Largest relative difference of the first steps, of the later ones in spreads, and the place of the latter.

    A spread below what is granted to the first steps, a tenth of it, counts as that.
    """
    if [set(step) for step in losses] != [set(step) for step in found]:
        return float("inf"), float("inf"), f"other losses: {sorted(set(losses[0]) ^ set(found[0]))}, {len(found)} steps"
    early, late, worst = 0.0, 0.0, ""
    for step, (values, widths, others) in enumerate(zip(losses, spread, found, strict=True)):
        for name, value in values.items():
            difference = abs(others[name] - value)
            least = TOLERANCE * max(abs(value), 1e-12)
            if step < NUM_EXACT:
                early, late_here = max(early, difference / least * TOLERANCE), 0.0
            else:
                late_here = difference / max(widths[name], least / NUM_SPREADS)
            if late_here > late:
                late, worst = late_here, f"step {step + 1}, {name}"
    return early, late, worst


def _summarise(folder: Path, path: Path) -> None:
    from deta.utils.files import write_text
    from scripts.reference.steps import recorded

    content = {}
    for name in NAMES:
        losses, spread = recorded(folder / name)
        content[name] = {
            term: {
                "loss": [float(f"{step[term]:.8g}") for step in losses],
                "spread": [float(f"{step[term]:.2g}") for step in spread],
            }
            for term in losses[0]
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
