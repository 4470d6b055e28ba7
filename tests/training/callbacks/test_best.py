"""The best checkpoint follows a run that is moved, and is the newest while there is no best."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from deta.training.callbacks import BestCheckpoint


class Scripted(pl.LightningModule):
    """Its weight counts the steps; its validations find the given scores."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self._scores = scores

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/AP", self._scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(
    folder: Path,
    scores: Sequence[float],
    *,
    kind: type[ModelCheckpoint] = BestCheckpoint,
    **changes: Any,  # noqa: ANN401
) -> None:
    """Train an epoch of one step for each score, from ``last.ckpt`` if there is one."""
    options: dict[str, Any] = {
        "dirpath": folder, "filename": "best", "monitor": "val/AP", "mode": "max", "save_on_train_epoch_end": False,
        "enable_version_counter": False,
    }  # fmt: skip
    batches: Any = torch.utils.data.DataLoader(torch.zeros(1, 1))  # type: ignore[arg-type]  # a tensor is a data set to it
    last = folder / "last.ckpt"
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=len(scores), callbacks=[kind(**{**options, **changes})], logger=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Scripted(scores), batches, batches, ckpt_path=last if last.is_file() else None, weights_only=True)
    trainer.save_checkpoint(last)


def best_epoch(folder: Path) -> int:
    """The epoch after which the best weights were saved, from 0."""
    return int(torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]["weight"]) - 1


pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
NAN = math.nan


@pytest.mark.parametrize("kind", [BestCheckpoint, ModelCheckpoint])
@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_run_that_lies_elsewhere_knows_its_best_score(tmp_path: Path, kind: type[ModelCheckpoint], move: Any) -> None:  # noqa: ANN401
    train(tmp_path / "run", [0.2, 0.9, 0.1], kind=kind)
    move(tmp_path / "run", tmp_path / "moved")
    train(tmp_path / "moved", [0.2, 0.9, 0.1, 0.5])
    assert best_epoch(tmp_path / "moved") == 1
    train(tmp_path / "moved", [0.2, 0.9, 0.1, 0.5, 0.95])
    assert best_epoch(tmp_path / "moved") == 4


def test_a_checkpoint_says_nothing_of_where_the_run_lay(tmp_path: Path) -> None:
    train(tmp_path / "run", [0.2, 0.9])
    (state,) = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["callbacks"].values()
    assert str(tmp_path) not in str(state)


def test_without_the_file_the_next_is_the_best_so_far(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, [0.2, 0.9])
    (tmp_path / "best.ckpt").unlink()
    train(tmp_path, [0.2, 0.9, 0.5, 0.4])
    assert best_epoch(tmp_path) == 2
    assert "does not hold the best checkpoint of this run" in caplog.text


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([NAN], 0), ([NAN, NAN, NAN], 2), ([NAN, 0.0, NAN], 1), ([NAN, NAN, 0.3, 0.2], 2), ([0.1, NAN, NAN], 0)],
)
def test_an_undefined_score_is_best_only_while_none_is_defined(
    tmp_path: Path, scores: Sequence[float], expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, scores)
    assert best_epoch(tmp_path) == expected
    assert caplog.text.count("val/AP is undefined: until it is defined, best.ckpt is the newest checkpoint") == (
        1 if math.isnan(scores[0]) else 0
    )


def test_undefined_scores_stay_so_in_a_continued_run(tmp_path: Path) -> None:
    train(tmp_path, [NAN, NAN])
    train(tmp_path, [NAN, NAN, NAN])
    assert best_epoch(tmp_path) == 2
    train(tmp_path, [NAN, NAN, NAN, 0.1, NAN])
    assert best_epoch(tmp_path) == 3


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_another_direction_makes_the_next_the_best_so_far(tmp_path: Path) -> None:
    train(tmp_path, [0.2, 0.9])
    train(tmp_path, [0.2, 0.9, 0.5, 0.7], mode="min", monitor="val/AP", every_n_epochs=1)
    assert best_epoch(tmp_path) == 2
