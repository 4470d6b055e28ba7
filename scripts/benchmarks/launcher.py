"""What a sweep costs beside its trainings: seconds for one more run that is trained, skipped, or submitted.

    python scripts/benchmarks/launcher.py --runs 6

Sweeps of one and of several of the smallest trainings (two steps, eight images) are started as processes of their own,
so that the difference is what another run costs; in ``trained`` it contains that training. ``submitted`` goes to
programs in the place of SLURM's that answer at once.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAINING = (
    "experiment=deta_shapes", "model.body.hidden_dim=32", "model.backbone.channels=[16,16,32]",
    "model.backbone.num_blocks=1", "model.backbone.stem_channels=16", "model.body.encoder.num_layers=1",
    "model.body.encoder.ffn_dim=32", "model.body.decoder.num_layers=2", "model.body.decoder.ffn_dim=32",
    "model.body.source.num_queries=20", "data.num_train=8", "data.num_val=4", "data.batch_size=4",
    "data.num_workers=0", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1",
    "trainer.enable_progress_bar=false", "logger=file",
)  # fmt: skip
STUBS = {"sbatch": "#!/bin/sh\necho 42\n", "scontrol": "#!/bin/sh\n"}


def seconds_of_sweep(folder: Path, num_runs: int, *words: str) -> float:
    """Wall clock of the command for a sweep of so many seeds."""
    seeds = ",".join(str(seed) for seed in range(num_runs))
    command = [sys.executable, "-m", "deta", "train", "-m", *TRAINING, f"seed={seeds}", f"hydra.sweep.dir={folder}"]
    start = time.perf_counter()
    subprocess.run([*command, *words], check=True, capture_output=True)
    return time.perf_counter() - start


def seconds_of_another_run(folder: Path, num_runs: int, *words: str) -> tuple[float, float]:
    """For a run that is new, and for one that was dealt with before."""
    first = seconds_of_sweep(folder / "one", 1, *words), seconds_of_sweep(folder / "all", num_runs, *words)
    again = seconds_of_sweep(folder / "one", 1, *words), seconds_of_sweep(folder / "all", num_runs, *words)
    new, old = ((several - one) / (num_runs - 1) for one, several in (first, again))
    return new, old


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6, help="of the larger sweep, from 2")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[float]] = {"trained": [], "skipped": [], "submitted": []}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            trained, skipped = seconds_of_another_run(folder / "here", given.runs)
            (folder / "bin").mkdir()
            for command, script in STUBS.items():
                stub = folder / "bin" / command
                stub.write_text(script)
                stub.chmod(0o755)
            os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
            submitted, _ = seconds_of_another_run(folder / "there", given.runs, "cluster=sbatch")
        for kind, seconds in (("trained", trained), ("skipped", skipped), ("submitted", submitted)):
            found[kind].append(seconds)
    print("| one more run | seconds (median) |\n| --- | --- |")
    for kind, values in found.items():
        print(f"| {kind} | {statistics.median(values):.2f} |")


if __name__ == "__main__":
    main()
