"""Training on two ranks: the same steps as on one, and a common end."""

import json
from pathlib import Path

import pytest
import torch

from deta.tracking.metrics import read_metrics
from deta.training.callbacks import AssignmentInstability, NonFiniteGuard, NonFiniteLossError
from tests.training.ranks import on_ranks
from tests.training.spoiled import SpoiledCriterion
from tests.training.tiny import detection_module, logged, make_trainer, shapes, weights

NUM_IMAGES = 8
NUM_RANKS = 2
NUM_COMPARED = 2


def train(folder: Path, *, num_ranks: int, spoiled_at: int | None = None, max_epochs: int = 1) -> None:
    """Two steps of four images in an epoch, and a validation of which one of two ranks has more batches.

    Batches have one size, so that no image sees another padding.
    """
    sizes = {"num_train": NUM_IMAGES, "num_val": 5, "batch_size": 4 // num_ranks}
    data = shapes(folder / "cache", **sizes, pad_to=[96, 112])
    # Not Adam: it makes full steps of gradients that are zero but for rounding, such as of a bias before a norm.
    module = detection_module(data, criterion=SpoiledCriterion(at=spoiled_at), optimizer=torch.optim.SGD, lr=1e-2)
    callbacks = [NonFiniteGuard(folder=folder), AssignmentInstability(num_images=NUM_COMPARED)]
    strategy = "auto" if num_ranks == 1 else "ddp"
    trainer = make_trainer(folder, devices=num_ranks, strategy=strategy, callbacks=callbacks, max_epochs=max_epochs)
    trainer.fit(module, datamodule=data)
    torch.save(weights(module), folder / f"rank{trainer.global_rank}of{num_ranks}.pt")


def worker(rank: int, folder: str, spoiled_rank: int | None, max_epochs: int) -> None:
    """One rank of a training."""
    try:
        spoiled_at = 1 if rank == spoiled_rank else None
        train(Path(folder), num_ranks=NUM_RANKS, spoiled_at=spoiled_at, max_epochs=max_epochs)
    except NonFiniteLossError as error:
        (Path(folder) / f"rank{rank}.json").write_text(json.dumps(str(error)))


def train_on_ranks(folder: Path, *, spoiled_rank: int | None = None, max_epochs: int = 1) -> None:
    """The same in two processes."""
    on_ranks(NUM_RANKS, worker, str(folder), spoiled_rank, max_epochs)


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one(tmp_path: Path) -> None:
    for number in (1, NUM_RANKS):
        (tmp_path / str(number)).mkdir()
    train(tmp_path / "1", num_ranks=1)
    train_on_ranks(tmp_path / "2")
    alone = torch.load(tmp_path / "1" / "rank0of1.pt")
    first, second = (torch.load(tmp_path / "2" / f"rank{rank}of2.pt") for rank in range(NUM_RANKS))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.testing.assert_close(first, alone, rtol=1e-4, atol=1e-6)
    names = {name for row in read_metrics(tmp_path / "1" / "metrics.jsonl") for name in row} - {"time"}
    assert {"train/loss", "train/layer0/giou", "val/loss", "val/AP", "val/ARl"} <= names
    names.remove("train/class_error")  # a share of the positives, of which the ranks have different numbers
    for name in names:
        # The losses of a step are sums of float32 in another order, after weights that differ as above.
        expected = pytest.approx(logged(tmp_path / "1", name), rel=1e-4, abs=1e-6, nan_ok=True)
        assert logged(tmp_path / "2", name) == expected, name


@pytest.mark.slow
def test_ranks_with_unequal_validations_find_the_instability_of_one(tmp_path: Path) -> None:
    for number in (1, NUM_RANKS):
        (tmp_path / str(number)).mkdir()
    train(tmp_path / "1", num_ranks=1, max_epochs=3)
    train_on_ranks(tmp_path / "2", max_epochs=3)
    for stage in ("layers", "proposals"):
        for figure in ("instability", "changed_queries_per_image"):
            alone, together = (logged(tmp_path / name, f"assign/{stage}/{figure}") for name in ("1", "2"))
            assert len(alone) == 2
            assert together == pytest.approx(alone, abs=1e-6)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank_stops_both(tmp_path: Path) -> None:
    train_on_ranks(tmp_path, spoiled_rank=1)
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(NUM_RANKS))
    assert first == "the loss of another rank is not finite at epoch 0, step 1"
    assert second.startswith("the loss is not finite at epoch 0, step 1: layer0/giou; image ids ")
    assert [path.name for path in tmp_path.glob("*.pt")] == ["non_finite_step1_rank1.pt"]
