"""Operator calls of one eager training step by phase: what the host starts, on any machine.

    python -m scripts.benchmarks.step_operators
    python -m scripts.benchmarks.step_operators system=dino --precision bf16

Words are those of ``deta train``. Counted is every call that reaches a device; views are none, a ``_foreach`` call is
one, and so is an operator of ours, whatever runs inside. Images are small and weights random: sizes change no number.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.timing import Row, markdown_table
from deta.building.build import make_detector, plain
from deta.ops.random import Draw
from deta.training.optim import parameter_groups
from scripts.benchmarks.step_speed import NUM_CLASSES, Variant, configuration, make_batch

MODULES = ("backbone", "neck", "body.encoder", "body.source", "body.decoder")
PHASES = (*MODULES, "rest of the detector", "criterion", "backward", "clipping and optimizer")
SIZE = (128, 160)


class Calls(TorchDispatchMode):
    """Counts calls by the phase that is set."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        self.by_phase: dict[str, Counter[str]] = {phase: Counter() for phase in PHASES}
        self.phase = "rest of the detector"

    @contextmanager
    def counting(self, phase: str) -> Iterator[None]:
        """Count for ``phase`` inside."""
        self.phase, before = phase, self.phase
        yield
        self.phase = before

    def watch(self, detector: nn.Module) -> None:
        """Count for each module that has a phase of its own while it runs."""
        for name in MODULES:
            module = detector.get_submodule(name)
            module.register_forward_pre_hook(lambda *_, name=name: setattr(self, "phase", name))
            module.register_forward_hook(lambda *_: setattr(self, "phase", "rest of the detector"))

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - whatever an operator takes and gives
        """Count and run."""
        if not _is_view(func):
            self.by_phase[self.phase][str(func)] += 1
        return func(*args, **(kwargs or {}))


def count(words: list[str], precision: str) -> dict[str, Counter[str]]:
    """Calls of the second step of a training, by phase and operator."""
    cfg = configuration(Variant.parse(precision), words)
    torch.manual_seed(0)
    detector = make_detector(plain(cfg.model), NUM_CLASSES)
    criterion = instantiate(cfg.criterion, _convert_="all")
    factors = instantiate(cfg.optimizer.lr_factors, _convert_="all")
    groups = parameter_groups(detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=factors)
    optimizer = instantiate(cfg.optimizer.make, _convert_="all")(groups)
    batch, draw, calls = make_batch(2, SIZE, "cpu"), Draw.of(0, 0), Calls()
    calls.watch(detector)
    with calls, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for _ in range(2):
            calls.by_phase = {phase: Counter() for phase in PHASES}
            output = detector(batch.images, batch.is_padding, batch.targets, draw.within("model"))
            with calls.counting("criterion"):
                loss = criterion(output, batch.targets, draw).total()
            with calls.counting("backward"):
                optimizer.zero_grad()
                loss.backward()
            with calls.counting("clipping and optimizer"):
                nn.utils.clip_grad_norm_(detector.parameters(), 0.1)
                optimizer.step()
    return calls.by_phase


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of deta train, such as system=dino")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    arguments = parser.parse_intermixed_args()
    by_phase = count(arguments.words, arguments.precision)
    rows: list[Row] = [
        {"phase": phase, "calls": calls.total(), "most": ", ".join(f"{n} {name}" for name, n in calls.most_common(6))}
        for phase, calls in by_phase.items()
    ]
    total = sum(calls.total() for phase, calls in by_phase.items() if "optimizer" not in phase)
    rows.append({"phase": "all without the optimizer", "calls": total, "most": ""})
    print(markdown_table(rows, ["phase", "calls", "most"]))


def _is_view(func: OpOverload) -> bool:
    """Whether the result is another look at an argument; its schema does not tell it of ``_unsafe_view``."""
    if func is torch.ops.aten._unsafe_view.default:
        return True
    results = func._schema.returns
    return bool(results) and all(part.alias_info is not None and not part.alias_info.is_write for part in results)


if __name__ == "__main__":
    main()
