"""Batches of one optimizer step give the gradients and losses of one larger batch."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from deta.assign import IoUAssigner
from deta.data import CocoDataModule
from deta.losses import Criterion
from deta.tracking.metrics import MetricsLogger
from tests.data.folders import annotation, data_module, document, image, write_image, write_json
from tests.losses.criteria import QueryCriterion
from tests.training.tiny import detection_module, logged, make_trainer

NUM_OBJECTS = (5, 0, 1, 3, 7, 2)
"""Of every image; one has none."""
SIZE = {"height": 128, "width": 160}
"""The coarsest map has several pixels: a group norm over one or two would magnify the rounding of what comes before."""
TOLERANCE = 1e-5
"""Sums of float32 in another order."""
ACCUMULATED = {"batch_size": 1, "accumulate_grad_batches": 4}
Gradients = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of images of one size with unevenly spread objects."""
    root = tmp_path_factory.mktemp("uneven")
    generator = torch.Generator().manual_seed(0)
    annotations: list[Any] = []
    for image_id, num_objects in enumerate(NUM_OBJECTS, start=1):
        write_image(root / "images" / f"{image_id}.png", seed=image_id, **SIZE)
        for left, top, width, height in torch.randint(16, 100, (num_objects, 4), generator=generator).tolist():
            box = [left, top, min(width, SIZE["width"] - left), min(height, SIZE["height"] - top)]
            area = box[2] * box[3]
            annotations.append(annotation(len(annotations) + 1, image_id=image_id, bbox=box, area=area))
    images = [image(image_id, **SIZE) for image_id in range(1, len(NUM_OBJECTS) + 1)]
    write_json(root / "all.json", document(images, annotations))
    return root


def data(folder: Path, **changes: Any) -> CocoDataModule:  # noqa: ANN401
    """All images for training and for validation."""
    paths = {f"{split}_{kind}": name for split in ("train", "val") for kind, name in PATHS.items()}
    return data_module(folder, **{**paths, **changes})


PATHS = {"annotations": "all.json", "images": "images"}


class GradientsOfSteps(pl.Callback):
    """Keeps what the optimizer is given."""

    def __init__(self) -> None:
        self.steps: list[Gradients] = []

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Copy the gradients, before they are clipped."""
        gradients = {name: parameter.grad for name, parameter in pl_module.named_parameters()}
        self.steps.append({name: value.clone() for name, value in gradients.items() if value is not None})


def criterion(**changes: Any) -> Criterion:  # noqa: ANN401
    """Rules that decide nothing at random, since random numbers belong to the place of a batch."""
    rules = {"layer_assigner": IoUAssigner(gamma=None), "proposal_assigner": IoUAssigner(tau=0.7, gamma=None)}
    return QueryCriterion(**{**rules, **changes})


def train(folder: Path, logs: Path, *, batch_size: int, **options: Any) -> list[Gradients]:  # noqa: ANN401
    """Gradients of every step of an epoch in which the weights stay as they are."""
    module = detection_module(
        data(folder, batch_size=batch_size), criterion=criterion(), optimizer=torch.optim.SGD, lr=0.0
    )
    watch = GradientsOfSteps()
    settings = {"callbacks": [watch], "limit_val_batches": 0, "logger": MetricsLogger(folder=logs), **options}
    make_trainer(logs, **settings).fit(module, datamodule=data(folder, batch_size=batch_size))
    return watch.steps


def difference(first: Gradients, second: Gradients) -> float:
    """Of all gradients as one vector, relative to the second one."""
    assert first.keys() == second.keys()
    one, other = (torch.cat([part.flatten() for part in gradients.values()]).double() for gradients in (first, second))
    return float((one - other).norm() / other.norm())


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Metrics of the trainings of ``steps``."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def steps(folder: Path, logs: Path) -> dict[str, list[Gradients]]:
    """Of six images: ``accumulated`` four at a time, and batches of ``four`` and of ``two``."""
    return {
        "accumulated": train(folder, logs / "accumulated", **ACCUMULATED),
        "four": train(folder, logs / "four", batch_size=4),
        "two": train(folder, logs / "two", batch_size=2),
    }


def test_four_batches_of_one_image_give_the_gradients_of_one_of_four(steps: dict[str, list[Gradients]]) -> None:
    assert difference(steps["accumulated"][0], steps["four"][0]) < TOLERANCE


def test_a_last_step_of_fewer_batches_is_divided_by_what_it_has(steps: dict[str, list[Gradients]]) -> None:
    assert (len(steps["accumulated"]), len(steps["two"])) == (2, 3)
    assert difference(steps["accumulated"][1], steps["two"][2]) < TOLERANCE


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("name", ["loss", "proposals/class", "layer0/class", "layer1/l1", "layer1/giou"])
def test_the_logged_losses_are_those_of_the_larger_batch(logs: Path, name: str) -> None:
    accumulated, four, two = (logged(logs / run, f"train/{name}") for run in ("accumulated", "four", "two"))
    assert accumulated == pytest.approx([four[0], two[2]], rel=TOLERANCE)


def test_clipping_sees_the_gradients_of_the_whole_step(folder: Path, tmp_path: Path) -> None:
    class Watch(pl.Callback):
        """Notes the gradients that a step was taken with."""

        norms: list[float] = []  # noqa: RUF012 - of this test alone

        def on_before_zero_grad(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
        ) -> None:
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            self.norms.extend([float(torch.nn.utils.get_total_norm(gradients))] if gradients else [])

    train(folder, tmp_path, **ACCUMULATED, callbacks=[Watch()], gradient_clip_val=0.1)
    assert Watch.norms == [pytest.approx(0.1, rel=1e-3)]


def rank(number: int, folder: str, logs: str, port: int) -> None:
    """One of two ranks that take a step of two batches of one image."""
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(places, LOCAL_RANK=str(number), NODE_RANK="0", WORLD_SIZE="2")
    torch.set_num_threads(1)
    ranks = {"devices": 2, "strategy": "ddp"}
    torch.save(
        train(Path(folder), Path(logs), batch_size=1, accumulate_grad_batches=2, **ranks), Path(logs) / f"{number}.pt"
    )


@pytest.mark.slow
def test_two_ranks_with_two_batches_give_the_gradients_of_one_of_four(
    folder: Path, tmp_path: Path, steps: dict[str, list[Gradients]]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(rank, args=(str(folder), str(tmp_path), port), nprocs=2)
    for number in range(2):
        [first, last] = torch.load(tmp_path / f"{number}.pt")
        assert difference(first, steps["four"][0]) < TOLERANCE
        assert difference(last, steps["two"][2]) < TOLERANCE


@pytest.mark.parametrize("change", [{"normalizer": "num_positives"}, {"per_object": "mean"}])
def test_divisors_that_differ_between_stages_are_refused_by_name(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    rules = {role: replace(rule, **change) for role, rule in criterion().rules.items()}
    module = detection_module(data(folder), criterion=Criterion(rules))
    trainer = make_trainer(tmp_path, accumulate_grad_batches=2)
    ((name, value),) = change.items()
    with pytest.raises(
        ValueError, match=rf"criterion\.rules\.layers\.{name}={value} .* trainer\.accumulate_grad_batches is"
    ):
        trainer.fit(module, datamodule=data(folder))


@pytest.mark.parametrize(("interval", "is_refused"), [(3, True), (0.5, True), (4, False), (1.0, False)])
def test_a_validation_inside_a_step_is_refused(
    folder: Path, tmp_path: Path, interval: float, *, is_refused: bool
) -> None:
    module = detection_module(data(folder), criterion=criterion(), optimizer=torch.optim.SGD)
    trainer = make_trainer(tmp_path, accumulate_grad_batches=4, val_check_interval=interval, max_steps=1)
    if not is_refused:
        trainer.fit(module, datamodule=data(folder, batch_size=1))
        return
    with pytest.raises(ValueError, match=r"trainer\.val_check_interval=.* inside an optimizer step"):
        trainer.fit(module, datamodule=data(folder, batch_size=1))
