"""Time of ``deta predict`` for each image, of this checkout and of an earlier one, in processes in turn.

Every process runs the command on few images and on many, in that order and once before to warm up; the difference,
divided by the difference in images, leaves out imports, configuration and the reading of the checkpoint. Wall time and
processor time of the process are told, of every round and the smallest.

    python scripts/benchmarks/prediction.py --other ../earlier --ckpt runs/demo --images photos --many 60
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measure(arguments: argparse.Namespace) -> None:
    """In a process of one checkout: print seconds for an image, of wall and of processor."""
    from deta.cli import main  # that of the checkout on the path

    images = sorted(path for path in Path(arguments.images).iterdir() if path.is_file())[: arguments.many]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {"warm": images[:2], "few": images[:4], "many": images}
        for kind, chosen in sources.items():
            (folder / kind).mkdir()
            for path in chosen:
                (folder / kind / path.name).write_bytes(path.read_bytes())
        seconds = {}
        for kind in sources:
            words = [f"ckpt={arguments.ckpt}", f"source={folder / kind}", f"hydra.run.dir={folder}/out_{kind}"]
            sys.argv[1:] = ["predict", *words, "device=cpu", *arguments.words]
            start = (time.perf_counter(), time.process_time())
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                main()
            seconds[kind] = (time.perf_counter() - start[0], time.process_time() - start[1])
    number = len(sources["many"]) - len(sources["few"])
    print(json.dumps([(many - few) / number for few, many in zip(seconds["few"], seconds["many"], strict=True)]))


def main() -> None:
    """Measure both in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="checkout of the earlier version")
    parser.add_argument("--ckpt", required=True, help="run or checkpoint that both read")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--many", type=int, default=60, help="images of the longer run, more than 4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", nargs="*", default=[], help="further words for both, such as min_score=0.05")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        measure(arguments)
        return
    checkouts = {"other": arguments.other.resolve(), "this": ROOT}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    for number in range(arguments.rounds):
        for name, checkout in checkouts.items():
            path = f"{checkout / 'src'}{os.pathsep}{checkout / 'kernels'}"
            command = [sys.executable, __file__, *sys.argv[1:], "--in-process"]
            done = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": path}, check=True, stdout=subprocess.PIPE, text=True
            )
            wall, processor = json.loads(done.stdout.splitlines()[-1])
            found[name].append((wall, processor))
            print(
                f"round {number + 1} {name:>5}: {1000 * wall:.1f} ms, processor {1000 * processor:.1f} ms", flush=True
            )
    best = {name: tuple(min(values) for values in zip(*rows, strict=True)) for name, rows in found.items()}
    for index, what in enumerate(("wall", "processor")):
        other, this = best["other"][index], best["this"][index]
        print(f"{what}: {1000 * other:.1f} ms, {1000 * this:.1f} ms: {other / this:.2f} times as fast")


if __name__ == "__main__":
    main()
