"""Time of every launch of the Triton kernels, from which the table of ``deta_kernels.configs`` is made.

    python -m benchmarks.launches --output launches.csv                # on a CUDA device; 16 cores compile in 2 minutes
    TRITON_INTERPRET=1 python -m benchmarks.launches --device cpu --shapes D2 --launches 512/1 --repeats 1 --jobs 0

A launch is numbers of a program and warps, and for the backward pass the pixels up to which a level is coarse, where
it is not what ``configs.largest_coarse_level`` says. On a GPU every call is captured in a graph, whose replay takes no
Python; CUDA events around single replays, launches in turn within a round, the L2 cache overwritten before each.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest import mock

import torch

from benchmarks.matrix import WORKLOADS, Plan, time_calls
from benchmarks.timing import Row, machine_facts, markdown_table, spread, write_csv
from benchmarks.workloads import Workload, make_inputs
from deta_kernels import backward, configs
from deta_kernels.configs import Config
from deta_kernels.forward import forward

LAUNCHES = "128/1 256/1 256/2 512/1 512/2 512/4 1024/4 2048/4"
KERNELS = ("forward", "backward", "deterministic")
Task = tuple[str, str, str]
"""Shape, dtype and kernel."""


def patched(launch: str) -> ExitStack:
    """The kernels with a launch such as ``128/1`` or ``128/1/512``, until it is closed."""
    elements, warps, *coarse = map(int, launch.split("/"))
    config, stack = Config(elements, warps), ExitStack()
    stack.enter_context(mock.patch.multiple(configs, chosen_config=lambda *_: config, _INTERPRETED=config))
    if coarse:
        stack.enter_context(mock.patch.object(backward, "largest_coarse_level", return_value=coarse[0]))
    return stack


def make_run(task: Task, launch: str, device: str, *, small: bool = False) -> Callable[[], object]:
    """The kernel of ``task`` with this launch; ``small``: on few queries of one image, which compiles the same."""
    name, dtype, kernel = task
    workload: Workload = WORKLOADS[name]
    if small:
        workload = replace(workload, images=1, queries=1027)
    inputs = make_inputs(workload, distribution="spread", dtype=getattr(torch, dtype), device=device)
    sizes = [side for shape in inputs.shapes for side in shape]
    arguments = (inputs.value, sizes, inputs.reference, inputs.offsets, inputs.logits)
    output = torch.empty_like(inputs.upstream) if kernel == "forward" else forward(*arguments)

    def run() -> object:
        with patched(launch):
            if kernel == "forward":
                return forward(*arguments)
            is_deterministic = kernel == "deterministic"
            return backward.backward(inputs.upstream, output, *arguments, workload.boxes, is_deterministic)

    run()
    return captured(run) if device == "cuda" and not small else run


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """The work of a call on the GPU, without what Python does for it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def compile_launch(work: tuple[Task, str, str]) -> None:
    """Fill Triton's cache on disk."""
    make_run(*work, small=True)


def main() -> None:
    """Compile in parallel, measure one after the other, write CSV and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=WORKLOADS, default=["E1", "Q5k", "D1", "D2", "D3"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--launches", nargs="+", default=LAUNCHES.split(), help="elements/warps[/pixels]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10, help="calls of each launch per round")
    parser.add_argument("--jobs", type=int, default=14, help="processes that compile; 0: none")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("launches.csv"))
    arguments = parser.parse_args()
    tasks = list(product(arguments.shapes, arguments.dtypes, arguments.kernels))
    if arguments.jobs:
        kinds = {(WORKLOADS[task[0]].boxes, *task[1:]): task for task in tasks}.values()
        work = [(task, launch, arguments.device) for task in kinds for launch in arguments.launches]
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            pool.map(compile_launch, work, chunksize=1)
    plan = Plan(arguments.device, arguments.rounds, arguments.repeats, keep_cache=False)
    facts, rows = machine_facts(arguments.device), list[Row]()
    for task in tasks:
        runs = {launch: make_run(task, launch, arguments.device) for launch in arguments.launches}
        named = dict(zip(("shape", "dtype", "kernel"), task, strict=True))
        times = {text: spread(seconds) for text, seconds in time_calls(runs, plan).items()}
        best = min(times, key=lambda text: times[text]["median"])
        for text, values in times.items():
            measured = {f"{key}_ms": value for key, value in values.items()}
            rows.append({**named, "launch": text, "is_best": text == best, **measured, **facts})
        write_csv(arguments.output, rows)  # an interrupted run keeps what it has
    print(markdown_table(rows, ("shape", "dtype", "kernel", "launch", "is_best", "median_ms", "p20_ms", "p80_ms")))


if __name__ == "__main__":
    main()
