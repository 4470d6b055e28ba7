"""How long trainings take side by side, with the busy waits of OpenMP as they are and as ``deta`` sets them.

    python scripts/benchmarks/two_trainings.py [--together 2] [--rounds 3] [overrides of deta train]

Each figure is the slowest of the trainings that run at once, start and imports not counted: the time between the first
and the last row of ``metrics.jsonl``, of all rounds the median. Both settings are run in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from deta.tracking.metrics import read_metrics
from deta.utils.cpus import SPIN_COUNT, usable_cpus

SETTINGS = {"OpenMP's own": "300000", "deta's": SPIN_COUNT}
TRAINING = (
    "experiment=deta_shapes", "data.num_train=64", "data.num_val=8", "data.batch_size=4", "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false",
    "logger=file",
)  # fmt: skip


def main() -> None:
    """Print a line for each setting and number of trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--together", type=int, default=2, help="trainings at once, from 1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="further words for deta train")
    options = parser.parse_args()
    usable, load = usable_cpus(), os.getloadavg()[0]
    print(f"{usable.number} of {os.cpu_count()} CPUs usable ({usable.limit}), load {load:.1f}", flush=True)
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):
        for number in sorted({1, options.together}):
            for name, spin_count in SETTINGS.items():
                seconds.setdefault((name, number), []).append(_train(number, spin_count, options.overrides))
    for (name, number), times in seconds.items():
        print(json.dumps({"busy wait": name, "together": number, "seconds": round(statistics.median(times), 2)}))


def _train(number: int, spin_count: str, overrides: list[str]) -> float:
    """Seconds of the slowest of ``number`` trainings at once."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(k) for k in range(number)]
        command = [sys.executable, "-m", "deta", "train", *TRAINING, *overrides]
        environment = {**os.environ, "GOMP_SPINCOUNT": spin_count}
        processes = [
            subprocess.Popen(
                [*command, f"hydra.run.dir={folder}"],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for folder in folders
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise RuntimeError("a training failed")
        times = [[float(row["time"]) for row in read_metrics(folder / "metrics.jsonl")] for folder in folders]
        return max(max(each) - min(each) for each in times)


if __name__ == "__main__":
    main()
