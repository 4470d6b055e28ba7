"""Speed, memory and kernel launches of the whole training step, one variant after the other.

    python -m scripts.benchmarks.step_speed --output step.csv
    python -m scripts.benchmarks.step_speed --variants tf32 bf16+max --batches 4 --profile profile.txt
    python -m scripts.benchmarks.step_speed --peer mypackage.release:make_step
    python -m scripts.benchmarks.step_speed --device cpu --size 64 96 --batches 1 --steps 2 model.num_classes=3

A variant is a precision, ``fp32`` (without TF32), ``tf32`` or ``bf16`` (autocast), and any of these after a ``+``:
``compile`` (``compile=true``, layer by layer), ``layers`` (the same without the criterion), ``max`` (``compile=max``,
one graph), ``hungarian`` (one-to-one rules) and ``deterministic`` (``torch.use_deterministic_algorithms``). Words after
the options are those of ``deta train``. Weights and pixels are random, every image has seven objects; a step is
forward, losses, backward, clipping and the optimizer, and the device is waited for after the last of them alone. All
variants are timed before the first of them is traced, since a trace slows the launches of the process from there on;
``memory_gib`` is what a variant adds to the others.

A peer is a function of images ``[B, 3, H, W]`` uint8, padding ``[B, H, W]`` and ``Targets`` that returns a step of its
own without arguments; it is measured under the precisions of the variants, which then only say whether TF32 is allowed.
"""

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.nn.utils import clip_grad_norm_
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import Row, machine_facts, markdown_table, write_csv
from deta.assign import Draw
from deta.building.build import make_detector, plain
from deta.cli import config_dir
from deta.structures import Batch
from deta.training.optim import parameter_groups
from deta.training.regions import compiled_step
from scripts.benchmarks.training_step import random_targets

PRECISIONS = ("fp32", "tf32", "bf16")
EXTRAS = ("compile", "layers", "max", "hungarian", "deterministic")
VARIANTS = ("fp32", "tf32", "bf16", "bf16+hungarian", "bf16+compile")
NUM_CLASSES = 80
NUM_OBJECTS = 7
COLUMNS = ["variant", "batch", "step_ms", "images_per_s", "memory_gib", "first_s"]
COLUMNS += ["kernels", "device_ms", "busy", "syncs"]
Run = Callable[[], object]
Make = Callable[[], Run]
Event = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """``precision`` and what is added to it."""

    precision: str
    extras: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Of a text such as ``bf16+compile``; raises ``ValueError`` for another."""
        precision, *extras = text.split("+")
        if precision not in PRECISIONS or not set(extras) <= set(EXTRAS):
            raise ValueError(f"a variant is one of {PRECISIONS}, then '+' and any of {EXTRAS}, got {text!r}")
        return cls(precision, frozenset(extras))

    @contextmanager
    def active(self) -> Iterator[None]:
        """PyTorch's switches of the variant; the earlier ones come back."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
        matmul.allow_tf32 = cudnn.allow_tf32 = self.precision != "fp32"
        torch.use_deterministic_algorithms("deterministic" in self.extras)
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before[:2]
            torch.use_deterministic_algorithms(before[2])


def make_batch(num_images: int, size: tuple[int, int], device: str) -> Batch:
    """Random pixels without padding."""
    return Batch(
        images=torch.randint(0, 256, (num_images, 3, *size), dtype=torch.uint8),
        is_padding=torch.zeros(num_images, *size, dtype=torch.bool),
        targets=random_targets(num_images, NUM_OBJECTS),
        image_ids=torch.arange(num_images),
        original_sizes=torch.tensor([size] * num_images),
    ).to(torch.device(device))


def configuration(variant: Variant, words: Sequence[str]) -> DictConfig:
    """Of a training with these words and the rules of the variant, from random weights."""
    rules = ["rule=hungarian"] if "hungarian" in variant.extras else []
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", ["model.backbone.weights=null", *rules, *words])


def make_step(variant: Variant, batch: Batch, words: Sequence[str]) -> Run:
    """One optimizer step of a new model, on the device of ``batch``."""
    device, cfg = batch.images.device, configuration(variant, words)
    torch.manual_seed(0)
    detector = make_detector(plain(cfg.model), NUM_CLASSES).to(device)
    criterion = instantiate(cfg.criterion, _convert_="all")
    factors = instantiate(cfg.optimizer.lr_factors, _convert_="all")
    groups = parameter_groups(detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=factors)
    optimizer = instantiate(cfg.optimizer.make, _convert_="all")(groups)
    mode = "max" if "max" in variant.extras else bool(variant.extras & {"compile", "layers"})
    function = compiled_step(
        detector, mode, with_criterion="compile" in variant.extras, has_graphs=device.type == "cuda"
    )
    numbers = count()

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=variant.precision == "bf16"):
            losses = function(detector, criterion, batch, Draw.of(0, next(numbers))).losses
            assert losses is not None
            total = losses.total()
        optimizer.zero_grad()
        total.backward()
        clip_grad_norm_(detector.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()

    return run


def timed(make: Make, num_steps: int, device: str) -> tuple[Run, dict[str, object]]:
    """A step with its time and, on a GPU, memory; the first step apart, since it compiles."""
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    run = make()
    first = _seconds(run, device)
    _seconds(run, device, times=2)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step_ms = 1e3 * min(_seconds(run, device, times=num_steps) for _ in range(2))
    facts: dict[str, object] = {"step_ms": round(step_ms, 1), "first_s": round(first, 1)}
    if device == "cuda":
        facts["memory_gib"] = round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)
    return run, facts


def traced(run: Run, step_ms: float) -> dict[str, object]:
    """Kernels, time on the GPU, its share, and waits of the host, of one step."""
    events = trace(run)
    on_device = [event["dur"] / 1e3 for event in events if event["cat"] in ("kernel", "gpu_memcpy", "gpu_memset")]
    return {
        "kernels": len(on_device),
        "device_ms": round(sum(on_device), 1),
        "busy": round(sum(on_device) / step_ms, 2),
        "syncs": sum(event["name"] in ("cudaStreamSynchronize", "cudaEventSynchronize") for event in events),
    }


def trace(run: Run) -> list[Event]:
    """What one step does on the device, and the calls that cause it, as events of a Chrome trace."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("ph") == "X" and "cat" in event]


def largest(run: Run, device: str) -> str:
    """The operators and kernels of one step that take most time, as a table."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profile(activities=activities) as profiler:
        run()
    key = f"self_{device}_time_total"
    return str(profiler.key_averages().table(sort_by=key, row_limit=60, max_name_column_width=80))


def peer_steps(peers: Sequence[str], variants: Sequence[Variant], batch: Batch) -> dict[str, tuple[Variant, Make]]:
    """Every peer under every precision that the variants name, bf16 aside."""
    steps: dict[str, tuple[Variant, Make]] = {}
    for text in peers:
        module, _, function = text.partition(":")
        make = partial(
            getattr(importlib.import_module(module), function), batch.images, batch.is_padding, batch.targets
        )
        for precision in {variant.precision: None for variant in variants if variant.precision != "bf16"}:
            steps[f"{text} {precision}"] = Variant(precision, frozenset()), make
    return steps


def measure(
    batch: Batch, steps: Mapping[str, tuple[Variant, Make]], num_steps: int
) -> tuple[list[Row], dict[str, Run]]:
    """A row for every step, and the steps, with the time on the device only after all are timed."""
    device, rows, runs = batch.images.device.type, list[Row](), dict[str, Run]()
    for name, (variant, make) in steps.items():
        with variant.active():
            runs[name], facts = timed(make, num_steps, device)
        rate = round(1e3 * len(batch) / float(str(facts["step_ms"])), 1)
        rows.append({"variant": name, "batch": len(batch), "images_per_s": rate, **facts})
        print(markdown_table(rows[-1:], COLUMNS[:6]), flush=True)
    return rows, runs


def main() -> None:
    """Measure, write CSV, table and profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of deta train, such as model=deta_swinl")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--batches", nargs="+", type=int, default=[2, 4], help="images of a step")
    parser.add_argument("--size", nargs=2, type=int, default=[800, 1333], help="height and width of the images")
    parser.add_argument("--steps", type=int, default=10, help="measured steps, twice")
    parser.add_argument("--peer", nargs="*", default=[], help="package.module:function")
    parser.add_argument("--profile", type=Path, help="file for the largest operators of every variant")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("step.csv"))
    arguments = parser.parse_intermixed_args()
    variants = {text: Variant.parse(text) for text in arguments.variants}
    machine, rows = machine_facts(arguments.device), list[Row]()
    steps: list[tuple[Variant, Run]] = []
    for num_images in arguments.batches:
        batch = make_batch(num_images, tuple(arguments.size), arguments.device)
        makes: dict[str, tuple[Variant, Make]] = {
            text: (variant, partial(make_step, variant, batch, arguments.words)) for text, variant in variants.items()
        }
        makes |= peer_steps(arguments.peer, list(variants.values()), batch)
        of_batch, runs = measure(batch, makes, arguments.steps)
        rows += [{**row, **machine} for row in of_batch]
        steps += [(makes[name][0], run) for name, run in runs.items()]
        write_csv(arguments.output, rows)  # an interrupted run keeps what it has
    for place, (variant, run) in enumerate(steps):
        with variant.active():
            if arguments.device == "cuda":
                rows[place] = {**rows[place], **traced(run, float(str(rows[place]["step_ms"])))}
                write_csv(arguments.output, rows)
            if arguments.profile:
                with arguments.profile.open("a") as file:
                    named = f"{rows[place]['variant']}, batch {rows[place]['batch']}"
                    file.write(f"{named}\n{largest(run, arguments.device)}\n\n")
    print(markdown_table(rows, COLUMNS))


def _seconds(run: Run, device: str, *, times: int = 1) -> float:
    """Of one of so many steps, waited for together."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


if __name__ == "__main__":
    main()
