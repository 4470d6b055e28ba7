"""Operator calls of one eager training step by phase: what the host starts, on any machine.

    python -m scripts.benchmarks.step_operators
    python -m scripts.benchmarks.step_operators system=dino --precision bf16
    python -m scripts.benchmarks.step_operators --graphs --multiple 32

Words are those of ``deta train``. Counted is every call that reaches a device; views are none, a ``_foreach`` call is
one, and so is an operator of ours, which is a kernel on a GPU. Images are small and weights random: sizes change no
number of calls. Bytes are those of results, which are written at least once.

``--graphs`` tells instead how many graphs ``compile=true`` and ``compile=max`` trace over ten image sizes, whose sides
are padded to multiples of ``--multiple``; no code is generated.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from unittest import mock

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._dynamo.utils import counters  # the only place that tells how many graphs there are
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.timing import Row, markdown_table
from deta.assign import ask, solve
from deta.building.build import make_detector, plain
from deta.losses import Criterion
from deta.ops.random import Draw
from deta.training.optim import parameter_groups
from deta.training.regions import compile_regions
from deta.training.step import step
from scripts.benchmarks.step_speed import NUM_CLASSES, Variant, configuration, make_batch

MODULES = ("backbone", "neck", "body.encoder", "body.source", "body.decoder")
PHASES = (*MODULES, "rest of the detector", "assignment", "losses", "backward", "clipping and optimizer")
SIZE = (128, 160)
SIZES = [
    (400, 544),
    (544, 400),
    (512, 640),
    (480, 640),
    (512, 512),
    (448, 672),
    (640, 480),
    (576, 576),
    (672, 448),
    (432, 656),
]
"""Pixels; of smaller images the coarsest map has a side of one cell, which is a graph of its own."""


class Calls(TorchDispatchMode):
    """Counts calls, and the bytes of their results, by the phase that is set."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        self.forget()
        self.phase = "rest of the detector"

    def forget(self) -> None:
        """Begin anew."""
        self.by_phase: dict[str, Counter[str]] = {phase: Counter() for phase in PHASES}
        self.bytes = Counter[str]()

    @contextmanager
    def counting(self, phase: str) -> Iterator[None]:
        """Count for ``phase`` inside."""
        self.phase, before = phase, self.phase
        yield
        self.phase = before

    def within(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose calls count for ``phase``."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            with self.counting(phase):
                return function(*args, **kwargs)

        return counted

    def watch(self, detector: nn.Module) -> None:
        """Count for each module that has a phase of its own while it runs."""
        for name in MODULES:
            module = detector.get_submodule(name)
            module.register_forward_pre_hook(lambda *_, name=name: setattr(self, "phase", name))
            module.register_forward_hook(lambda *_: setattr(self, "phase", "rest of the detector"))

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - whatever an operator takes and gives
        """Count and run."""
        found = func(*args, **(kwargs or {}))
        if not _is_view(func):
            self.by_phase[self.phase][str(func)] += 1
            written = (part for part in tree_leaves(found) if isinstance(part, Tensor))
            self.bytes[self.phase] += sum(part.numel() * part.element_size() for part in written)
        return found


def make(words: list[str], precision: str) -> tuple[DictConfig, nn.Module, Criterion]:
    """A detector with random weights and its criterion."""
    cfg = configuration(Variant.parse(precision), words)
    torch.manual_seed(0)
    return cfg, make_detector(plain(cfg.model), NUM_CLASSES), instantiate(cfg.criterion, _convert_="all")


def count(words: list[str], precision: str) -> Calls:
    """Calls of the second step of a training."""
    cfg, detector, measure = make(words, precision)
    factors = instantiate(cfg.optimizer.lr_factors, _convert_="all")
    groups = parameter_groups(detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=factors)
    optimizer = instantiate(cfg.optimizer.make, _convert_="all")(groups)
    batch, draw, calls = make_batch(2, SIZE, "cpu"), Draw.of(0, 0), Calls()
    calls.watch(detector)
    asking = mock.patch("deta.losses.criterion.ask", calls.within("assignment", ask))
    solving = mock.patch("deta.losses.criterion.solve", calls.within("assignment", solve))
    with asking, solving, calls, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for _ in range(2):
            calls.forget()
            output = detector(batch.images, batch.is_padding, batch.targets, draw.within("model"))
            with calls.counting("losses"):
                loss = measure(output, batch.targets, draw).total()
            with calls.counting("backward"):
                optimizer.zero_grad()
                loss.backward()
            with calls.counting("clipping and optimizer"):
                nn.utils.clip_grad_norm_(detector.parameters(), 0.1)
                optimizer.step()
    return calls


def trace(words: list[str], *, is_whole: bool, multiple: int) -> list[Row]:
    """Graphs, breaks and graphs made anew after each of ten image sizes, without generating code."""
    _, detector, measure = make(words, "fp32")
    torch.compiler.reset()
    counters.clear()
    run: Callable[..., Any] = step
    if is_whole:
        run = torch.compile(step, backend="eager")
    else:
        compile_regions(detector, backend="eager")
    rows: list[Row] = []
    for number, size in enumerate(SIZES):
        padded = (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple)
        run(detector, measure, make_batch(2, padded, "cpu"), Draw.of(0, number))
        graphs = counters["stats"]["unique_graphs"]
        first = graphs if not rows else int(str(rows[0]["graphs"]))
        breaks = sum(counters["graph_break"].values())
        image = f"{padded[0]}x{padded[1]}"
        mode = "max" if is_whole else "true"
        rows.append({"compile": mode, "image": image, "graphs": graphs, "breaks": breaks, "made anew": graphs - first})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of deta train, such as system=dino")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--graphs", action="store_true", help="of compiled steps, instead of calls")
    parser.add_argument("--multiple", type=int, default=1, help="data.pad_to_multiple, in pixels")
    arguments = parser.parse_intermixed_args()
    if arguments.graphs:
        rows = [
            row
            for is_whole in (False, True)
            for row in trace(arguments.words, is_whole=is_whole, multiple=arguments.multiple)
        ]
        print(markdown_table(rows, ["compile", "image", "graphs", "breaks", "made anew"]))
        return
    found = count(arguments.words, arguments.precision)
    table: list[Row] = [
        {
            "phase": phase,
            "calls": calls.total(),
            "MB": f"{found.bytes[phase] / 1e6:.1f}",
            "most": ", ".join(f"{number} {name}" for name, number in calls.most_common(6)),
        }
        for phase, calls in found.by_phase.items()
    ]
    kept = [phase for phase in found.by_phase if "optimizer" not in phase]
    total = sum(found.by_phase[phase].total() for phase in kept)
    written = sum(found.bytes[phase] for phase in kept) / 1e6
    table.append({"phase": "all without the optimizer", "calls": total, "MB": f"{written:.1f}", "most": ""})
    print(markdown_table(table, ["phase", "calls", "MB", "most"]))


def _is_view(func: OpOverload) -> bool:
    """Whether the result is another look at an argument; its schema does not tell it of ``_unsafe_view``."""
    if func is torch.ops.aten._unsafe_view.default:
        return True
    results = func._schema.returns
    return bool(results) and all(part.alias_info is not None and not part.alias_info.is_write for part in results)


if __name__ == "__main__":
    main()
