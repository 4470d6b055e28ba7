"""Time of one training step: forward, assignment and losses, backward, optimizer.

    python scripts/benchmarks/training_step.py [model=deta_r50 height=480 width=640 batch=1 steps=5 backends=auto
        checkpoint=false ...]

Random weights and images; ten objects in every image. ``backends=auto,reference`` compares implementations of the
attention in one process, step by step in turn; ``checkpoint=true`` computes encoder layers again for their gradients.
Prints the median over the steps and the most memory that the process had, on a GPU of its tensors, and appends them to
``training_step.csv`` with the device's name and the versions.
"""

import csv
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from deta.assign import Draw
from deta.cli import config_dir
from deta.models.attention.deformable import use_backend
from deta.structures import Targets
from deta.tracking.environment import device_names, package_versions
from deta.training.optim import parameter_groups

DEFAULTS = {"model": "deta_r50", "rule": "iou", "height": "480", "width": "640", "batch": "1"}
DEFAULTS |= {"steps": "5", "backends": "auto", "checkpoint": "false"}
NUM_OBJECTS = 10
NUM_CLASSES = 80


def main() -> None:
    """Measure as the command line asks and print a table."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    unknown = sorted(given.keys() - DEFAULTS.keys())
    if unknown:
        sys.exit(f"{unknown[0]} is no option: {', '.join(DEFAULTS)}")
    options = DEFAULTS | given
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(
            "train",
            [
                f"model={options['model']}",
                f"rule={options['rule']}",
                "model.backbone.weights=null",
                f"model.body.encoder.checkpoint={options['checkpoint']}",
            ],
        )
    detector = instantiate(cfg.model, _convert_="all", num_classes=NUM_CLASSES).to(device)
    criterion = instantiate(cfg.criterion, _convert_="all")
    groups = parameter_groups(detector.named_parameters(), lr=cfg.optimizer.lr, lr_factors=cfg.optimizer.lr_factors)
    optimizer = instantiate(cfg.optimizer.make)(groups)
    size = int(options["height"]), int(options["width"])
    images = torch.randint(0, 256, (int(options["batch"]), 3, *size), dtype=torch.uint8, device=device)
    is_padding = torch.zeros(len(images), *size, dtype=torch.bool, device=device)
    targets = random_targets(len(images)).to(device)

    backends = options.pop("backends").split(",")
    phases = ("forward", "losses", "backward", "optimizer", "step")
    times: dict[str, dict[str, list[float]]] = {backend: {name: [] for name in phases} for backend in backends}
    for _ in range(int(options["steps"]) + 1):
        for backend in backends:
            use_backend(detector, backend)
            spent = times[backend]
            with clock(spent["step"], device):
                with clock(spent["forward"], device):
                    output = detector(images, is_padding)
                with clock(spent["losses"], device):
                    losses = criterion(output, targets, Draw.of(0))
                with clock(spent["backward"], device):
                    optimizer.zero_grad()
                    losses.total().backward()
                with clock(spent["optimizer"], device):
                    optimizer.step()
    for backend in backends:
        report({**options, "backend": backend}, times[backend])


@contextmanager
def clock(times: list[float], device: torch.device) -> Iterator[None]:
    """Append the seconds that the block took, the device's work included."""
    start = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    times.append(time.perf_counter() - start)


def random_targets(num_images: int, num_objects: int = NUM_OBJECTS) -> Targets:
    """Objects of random place, size and class."""
    boxes = torch.cat((torch.rand(num_images, num_objects, 2), 0.05 + 0.3 * torch.rand(num_images, num_objects, 2)), -1)
    is_object = torch.ones(num_images, num_objects, dtype=torch.bool)
    return Targets(
        boxes=boxes,
        labels=torch.randint(NUM_CLASSES, (num_images, num_objects)),
        is_object=is_object,
        areas=boxes[..., 2:].prod(-1) * 640 * 480,
        ignore_boxes=torch.zeros(num_images, 0, 4),
        is_ignore=torch.zeros(num_images, 0, dtype=torch.bool),
        sizes=torch.tensor([[480.0, 640.0]]).repeat(num_images, 1),
        most_objects=num_objects,
    )


def report(options: dict[str, str], times: dict[str, list[float]]) -> None:
    """Print medians without the first step, and append them to the CSV."""
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    print(f"attention: {options['backend']}")
    for name, seconds in medians.items():
        print(f"  {name:<10} {1e3 * seconds:9.1f} ms")
    versions = package_versions()
    row: dict[str, str | float] = {
        **options,
        "device": device_names()[-1],
        "threads": str(torch.get_num_threads()),
        **{f"{name}_s": round(seconds, 4) for name, seconds in medians.items()},
        **{name: versions[name] for name in ("deta", "torch", "numba", "triton")},
        "peak_MiB": peak_memory(),
    }
    path = Path("training_step.csv")
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(f"  {'peak':<10} {row['peak_MiB']:9.0f} MiB")
    print(f"appended to {path.resolve()}")


def peak_memory() -> int:
    """MiB that the process had at most; on a GPU those of tensors there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10  # of KiB


if __name__ == "__main__":
    main()
