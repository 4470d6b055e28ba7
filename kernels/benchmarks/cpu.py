"""How much faster and smaller is the compiled CPU path than plain PyTorch?

    python -m benchmarks.cpu --threads 2 --output cpu.csv

Both run in one process, call by call in turn. Peak memory is what one call adds to the resident size of a fresh
process at most, after a warm-up on tiny inputs (Linux).
"""

import argparse
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.timing import Row, interleaved_seconds, machine_facts, markdown_table, spread, write_csv
from benchmarks.workloads import DISTRIBUTIONS, Inputs, Workload, make_inputs
from deta_kernels import deformable_attention

LEVELS = ((60, 80), (30, 40), (15, 20), (8, 10), (4, 5))
WORKLOADS = {
    "encoder": Workload(LEVELS, images=1),
    "decoder": Workload(LEVELS, images=1, queries=900, boxes=True),
}
BACKENDS = ("reference", "cpu")
PASSES = ("forward", "forward+backward")


def make_call(inputs: Inputs, backend: str, passes: str) -> Callable[[], object]:
    """A call without arguments; the backward pass gives the gradients of value, offsets and logits."""
    if passes == "forward":
        return functools.partial(_forward, inputs, backend)
    leaves = [tensor.requires_grad_() for tensor in (inputs.value, inputs.offsets, inputs.logits)]
    return lambda: torch.autograd.grad(_forward(inputs, backend), leaves, inputs.upstream)


def measure_times(name: str, distribution: str, rounds: int) -> list[Row]:
    """One row per backend and pass."""
    rows: list[Row] = []
    for passes in PASSES:
        inputs = make_inputs(WORKLOADS[name], distribution=distribution, dtype=torch.float32, device="cpu")
        calls = {backend: make_call(inputs, backend, passes) for backend in BACKENDS}
        times = {key: spread(values) for key, values in interleaved_seconds(calls, rounds=rounds).items()}
        for backend in BACKENDS:
            row: dict[str, object] = {"workload": name, "queries": WORKLOADS[name].num_queries}
            row |= {"distribution": distribution, "passes": passes, "backend": backend}
            row |= {f"{key}_ms": value for key, value in times[backend].items()}
            row["speedup"] = round(times["reference"]["median"] / times[backend]["median"], 2)
            row["peak_mb"] = peak_megabytes(name, distribution, passes, backend)
            rows.append(row)
    return rows


def peak_megabytes(name: str, distribution: str, passes: str, backend: str) -> float:
    """Memory that one call needs beyond its inputs, in 10^6 bytes, measured in a process of its own."""
    command = [sys.executable, __file__, "--peak-of", name, distribution, passes, backend]
    command += ["--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(name: str, distribution: str, passes: str, backend: str) -> None:
    """Measure this process: warm up on tiny inputs, then one call on the real ones."""
    real = WORKLOADS[name]
    tiny = Workload(((4, 4),) * len(real.shapes), images=1, queries=2, boxes=real.boxes)
    make_call(make_inputs(tiny, distribution=distribution, dtype=torch.float32, device="cpu"), backend, passes)()
    call = make_call(make_inputs(real, distribution=distribution, dtype=torch.float32, device="cpu"), backend, passes)
    Path("/proc/self/clear_refs").write_text("5")  # sets the largest resident size to the current one
    before = _largest_resident_bytes()
    kept = call()
    print(round((_largest_resident_bytes() - before) / 1e6, 1))
    del kept


def _largest_resident_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _forward(inputs: Inputs, backend: str) -> torch.Tensor:
    return deformable_attention(
        inputs.value, inputs.shapes, inputs.reference, inputs.offsets, inputs.logits, backend=backend
    )


def main() -> None:
    """Measure, write the CSV and print it as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("cpu.csv"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--distributions", nargs="+", choices=DISTRIBUTIONS, default=["spread"])
    parser.add_argument("--peak-of", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak_of:
        print_peak(*arguments.peak_of)
        return
    rows = [
        row | machine_facts("cpu")
        for name in WORKLOADS
        for distribution in arguments.distributions
        for row in map(dict, measure_times(name, distribution, arguments.rounds))
    ]
    write_csv(arguments.output, rows)
    columns = [
        "queries",
        "distribution",
        "passes",
        "backend",
        "median_ms",
        "p20_ms",
        "p80_ms",
        "speedup",
        "peak_mb",
    ]
    print(markdown_table(rows, columns))


if __name__ == "__main__":
    main()
