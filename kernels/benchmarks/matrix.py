"""Speed and memory of every backend over the shapes of real detectors.

    python -m benchmarks.matrix --output matrix.csv --figure matrix.png
    python -m benchmarks.matrix --shapes E1 D1 --dtypes float32 --peer mypackage.mymodule:attend

A peer is a function with the arguments ``value, spatial_shapes, reference, offsets, logits``. Every backend is
compared with the float64 twin before it is timed; a peer that refuses a dtype gets a row that says so. Times are CUDA
events around single calls, backends in turn within each round, with the L2 cache overwritten before every call unless
``--keep-cache``; clocks are as found. On a CPU (``--device cpu``) wall-clock time is taken instead.

Passes: ``forward``, ``backward`` (alone, graph kept), ``both``, and ``query``: from a query tensor through the two
linear layers to the output and back, where the softmax and the locations count too.
"""

import argparse
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.timing import Row, machine_facts, markdown_table, spread, time_once, write_csv
from benchmarks.workloads import DISTRIBUTIONS, R50_LEVELS, SMALL_LEVELS, SQUARE_LEVELS, Inputs, Workload, make_inputs
from deta_kernels import deformable_attention
from deta_kernels.reference import deformable_attention_reference

Operator = Callable[..., Tensor]

WORKLOADS = {
    "E1": Workload(R50_LEVELS, images=2),
    "E2": Workload(SQUARE_LEVELS, images=1),
    "E3": Workload(R50_LEVELS, images=4),
    "Q5k": Workload(R50_LEVELS, images=2, queries=5_000),
    "D1": Workload(R50_LEVELS, images=2, queries=900, boxes=True),
    "D2": Workload(R50_LEVELS, images=2, queries=300, boxes=True),
    "D3": Workload(R50_LEVELS, images=16, queries=300, boxes=True),
    "T1-10": Workload(SMALL_LEVELS, images=4, queries=10),
    "T1-100": Workload(SMALL_LEVELS, images=4, queries=100),
    "T1-1k": Workload(SMALL_LEVELS, images=4, queries=1_000),
    "T1-10k": Workload(SMALL_LEVELS, images=4, queries=10_000),
    "odd-16": Workload(R50_LEVELS, images=2, queries=5_000, heads=16, channels=16),
    "odd-64": Workload(R50_LEVELS, images=2, queries=5_000, heads=4, channels=64),
    "odd-P8": Workload(R50_LEVELS, images=2, queries=5_000, points=8),
    "odd-L1": Workload(((50, 84),), images=2),
}
PASSES = ("forward", "backward", "both", "query")
# Largest difference from the twin in float64, relative to its largest value: rounding of the inputs' type.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}
COLUMNS = ("shape", "dtype", "distribution", "passes", "backend", "median_ms", "p20_ms", "p80_ms", "peak_mb")


class WrongResultError(RuntimeError):
    """A backend computes something else."""


@dataclass(frozen=True)
class Plan:
    """How to measure, on which device."""

    device: str
    rounds: int
    repeats: int
    keep_cache: bool


def make_backends(device: str, peers: Mapping[str, Operator], *, compiled: bool) -> dict[str, Operator]:
    """Name -> operator; the compiled twin shows what a compiler makes of plain PyTorch."""
    ours = "triton" if device == "cuda" else "cpu"
    backends: dict[str, Operator] = {
        ours: functools.partial(deformable_attention, backend=ours),
        "reference": functools.partial(deformable_attention, backend="reference"),
    }
    if compiled:
        backends["reference, compiled"] = torch.compile(deformable_attention_reference, dynamic=False)
        backends[f"{ours}, compiled"] = torch.compile(backends[ours], dynamic=False, fullgraph=True)
    return backends | dict(peers)


def make_call(operator: Operator, inputs: Inputs, passes: str) -> Callable[[], object]:
    """A call without arguments that does the given passes."""
    leaves = [tensor.detach().requires_grad_() for tensor in (inputs.value, inputs.offsets, inputs.logits)]

    def attend() -> Tensor:
        return operator(leaves[0], inputs.shapes, inputs.reference, leaves[1], leaves[2])

    if passes == "forward":
        return torch.no_grad()(attend)
    if passes == "backward":
        output = attend()
        return lambda: torch.autograd.grad(output, leaves, inputs.upstream, retain_graph=True)
    if passes == "both":
        return lambda: torch.autograd.grad(attend(), leaves, inputs.upstream)
    return _query_call(operator, inputs)


def _query_call(operator: Operator, inputs: Inputs) -> Callable[[], object]:
    """Forward and backward of the module's part that fusion touches: two projections, then the operator."""
    size, width = inputs.offsets.shape[:2], inputs.value.shape[2] * inputs.value.shape[3]
    device, dtype = inputs.value.device, inputs.value.dtype
    query = torch.randn(*size, width, device=device, dtype=dtype).requires_grad_()
    offsets = nn.Linear(width, inputs.offsets[0, 0].numel(), device=device, dtype=dtype)
    logits = nn.Linear(width, inputs.logits[0, 0].numel(), device=device, dtype=dtype)
    value = inputs.value.detach().requires_grad_()
    leaves = [query, value, *offsets.parameters(), *logits.parameters()]

    def run() -> object:
        output = operator(
            value,
            inputs.shapes,
            inputs.reference,
            offsets(query).view(inputs.offsets.shape),
            logits(query).view(inputs.logits.shape),
        )
        return torch.autograd.grad(output, leaves, inputs.upstream)

    return run


def check_result(name: str, operator: Operator, workload: Workload, dtype: torch.dtype, device: str) -> None:
    """Raise ``WrongResultError`` if output or gradients are not those of the float64 twin (200 queries at most)."""
    small = replace(workload, images=1, queries=min(workload.num_queries, 200))
    inputs = make_inputs(small, distribution="spread", dtype=dtype, device=device)
    results = []
    for function, wide in ((operator, False), (deformable_attention_reference, True)):
        tensors = [inputs.value, inputs.reference, inputs.offsets, inputs.logits, inputs.upstream]
        value, reference, offsets, logits, upstream = (t.double() if wide else t for t in tensors)
        leaves = [value.requires_grad_(), offsets.requires_grad_(), logits.requires_grad_()]
        output = function(value, inputs.shapes, reference, offsets, logits)
        results.append([output, *torch.autograd.grad(output, leaves, upstream)])
    for kind, found, wanted in zip(("output", "value", "offsets", "logits"), *results, strict=True):
        error = ((found.double() - wanted).norm() / wanted.norm()).item()
        if not error <= TOLERANCES[dtype]:
            raise WrongResultError(f"{name} is wrong on {workload}: relative error {error:.1e} in {kind}")


def refusal(name: str, operator: Operator, workload: Workload, dtype: torch.dtype, device: str) -> str | None:
    """What a peer raises instead of computing; None if its results are right."""
    try:
        check_result(name, operator, workload, dtype, device)
    except WrongResultError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        return f"does not run: {error}".splitlines()[0]
    return None


def time_calls(calls: Mapping[str, Callable[[], object]], plan: Plan) -> dict[str, list[float]]:
    """Seconds of one call, one number per backend and round, backends in turn within a round."""
    scratch = torch.empty(64 * 2**20, dtype=torch.int32, device=plan.device) if plan.device == "cuda" else None
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(plan.rounds):
        for name, call in calls.items():
            call()
            for _ in range(plan.repeats):
                if scratch is not None and not plan.keep_cache:
                    scratch.zero_()  # 256 MB: more than any L2 cache holds
                seconds[name].append(time_once(call, plan.device))
    return seconds


def peak_megabytes(call: Callable[[], object], device: str) -> float | None:
    """Memory of one call beyond what was allocated before, in 10^6 bytes; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def measure(
    shape: str, distribution: str, dtype: torch.dtype, passes: str, backends: Mapping[str, Operator], plan: Plan
) -> list[Row]:
    """One row per backend; a backend that runs out of memory gets a row that says so."""
    inputs = make_inputs(WORKLOADS[shape], distribution=distribution, dtype=dtype, device=plan.device)
    facts: dict[str, object] = {"shape": shape, "dtype": str(dtype).removeprefix("torch.")}
    facts |= {
        "distribution": distribution,
        "passes": passes,
        "l2_flushed": plan.device == "cuda" and not plan.keep_cache,
    }
    calls: dict[str, Callable[[], object]] = {}
    peaks: dict[str, float | None] = {}
    rows: list[Row] = []
    for name, operator in backends.items():
        try:
            call = make_call(operator, inputs, passes)
            call()
            peaks[name] = peak_megabytes(call, plan.device)
            calls[name] = call
        except torch.cuda.OutOfMemoryError:
            rows.append(facts | {"backend": name, "median_ms": "out of memory"})
    for name, seconds in time_calls(calls, plan).items():
        times = {f"{key}_ms": value for key, value in spread(seconds).items()}
        rows.append(facts | {"backend": name, **times, "peak_mb": peaks[name]})
    return rows


def load_peer(text: str) -> Operator:
    """The function that ``package.module:function`` names."""
    module, _, function = text.partition(":")
    operator: Operator = getattr(importlib.import_module(module), function)
    return operator


def draw(rows: Sequence[Row], path: Path) -> None:
    """Medians on a logarithmic axis, one panel per pass; only the first dtype and distribution measured."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    rows = [row for row in rows if isinstance(row["median_ms"], float)]
    first = rows[0]
    rows = [row for row in rows if all(row[key] == first[key] for key in ("dtype", "distribution"))]
    passes = list(dict.fromkeys(str(row["passes"]) for row in rows))
    shapes = list(dict.fromkeys(str(row["shape"]) for row in rows))
    backends = list(dict.fromkeys(str(row["backend"]) for row in rows))
    size = (3 * len(passes), 1.8 + 0.4 * len(shapes))
    figure, axes = plt.subplots(1, len(passes), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, kind in zip(axes[0], passes, strict=True):
        for backend in backends:
            chosen = [row for row in rows if (row["passes"], row["backend"]) == (kind, backend)]
            places = [shapes.index(str(row["shape"])) for row in chosen]
            axis.plot([row["median_ms"] for row in chosen], places, "o", label=backend)
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(f"{kind} [ms]")
        axis.set_yticks(range(len(shapes)), shapes)
        axis.grid(axis="x", which="both", alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(backends))
    figure.suptitle(f"{first['dtype']}, {first['distribution']} points, {first['device']}")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure the chosen part of the matrix and write CSV, table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "float16"])
    parser.add_argument("--distributions", nargs="+", choices=DISTRIBUTIONS, default=list(DISTRIBUTIONS))
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--peer", nargs="*", default=[], help="package.module:function")
    parser.add_argument("--compiled", action="store_true", help="also measure under torch.compile")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=100, help="calls of each backend per round")
    parser.add_argument("--keep-cache", action="store_true", help="leave the L2 cache warm between calls")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("matrix.csv"))
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    plan = Plan(arguments.device, arguments.rounds, arguments.repeats, arguments.keep_cache)
    peers = {text: load_peer(text) for text in arguments.peer}
    backends = make_backends(plan.device, peers, compiled=arguments.compiled)
    facts, rows = machine_facts(plan.device), []
    for shape in arguments.shapes:
        for dtype in (getattr(torch, name) for name in arguments.dtypes):
            running = dict(backends)
            for name, operator in backends.items():
                if name not in peers:
                    check_result(name, operator, WORKLOADS[shape], dtype, plan.device)
                elif reason := refusal(name, operator, WORKLOADS[shape], dtype, plan.device):
                    del running[name]
                    rows.append(
                        {
                            "shape": shape,
                            "dtype": str(dtype).removeprefix("torch."),
                            "backend": name,
                            "median_ms": reason,
                            **facts,
                        }
                    )
            for distribution in arguments.distributions:
                for passes in arguments.passes:
                    rows += [{**row, **facts} for row in measure(shape, distribution, dtype, passes, running, plan)]
                    write_csv(arguments.output, rows)  # an interrupted run keeps what it has
    print(markdown_table(rows, COLUMNS))
    if arguments.figure:
        draw(rows, arguments.figure)


if __name__ == "__main__":
    main()
