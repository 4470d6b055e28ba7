"""The logged instability against dense index vectors compared one by one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from deta.assign import HungarianAssigner, IoUAssigner
from deta.losses import Criterion
from deta.structures import Batch, StageKey
from deta.tracking.metrics import read_metrics
from deta.training.callbacks import AssignmentInstability
from deta.training.module import DetectionModule
from deta.training.stage_names import assignment_names
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import tiny_detector
from tests.training.tiny import detection_module, logged, make_trainer, shapes

NUM_EPOCHS = 4
NUM_IMAGES = 3
Vector = tuple[int, ...]
"""Object of every candidate of an image, -1 for none."""


class Recorder(pl.Callback):
    """Keeps, for every validation, image and stage, the object of every encoder position or learned query."""

    def __init__(self) -> None:
        self.validations: list[dict[int, dict[str, Vector]]] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a validation."""
        self.validations.append({})

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, *_: object
    ) -> None:
        """Record."""
        assert isinstance(pl_module, DetectionModule)
        last = pl_module.last
        assert last is not None
        assert last.losses is not None
        for index, identity in enumerate(batch.image_ids.tolist()):
            seen = self.validations[-1].setdefault(identity, {})
            for name, keys in assignment_names(last.losses.matches).items():
                key = keys[0]
                owners = last.losses.matches[key].classes.target[index].clamp(min=-1).tolist()
                source = last.output.final.source
                if key.role != "first" and source is not None:
                    dense = [-1] * last.output.stages[StageKey("first")].num_candidates
                    for query, position in enumerate(source[index].tolist()):
                        dense[position] = owners[query]
                    owners = dense
                seen[name] = tuple(owners)


def train(cache: Path, folder: Path, *callbacks: pl.Callback, **module_options: Any) -> Recorder:  # noqa: ANN401
    """Four epochs on four images, three validation images in batches of two."""
    data, recorder = shapes(cache, num_val=NUM_IMAGES), Recorder()
    module = detection_module(data, **module_options)
    trainer = make_trainer(folder, callbacks=[recorder, *callbacks], max_epochs=NUM_EPOCHS)
    trainer.fit(module, datamodule=data)
    return recorder


def one_to_one(*, is_two_stage: bool) -> Criterion:
    proposals = HungarianAssigner() if is_two_stage else None
    return QueryCriterion(layer_assigner=HungarianAssigner(), proposal_assigner=proposals, rematch="per_layer")


def expected(recorder: Recorder, stage: str, num_images: int) -> list[tuple[float, float]]:
    """Changed candidates per image and mean set distance of every validation from the second on."""
    figures = []
    for before, after in zip(recorder.validations, recorder.validations[1:], strict=False):
        images = sorted(after)[:num_images]
        changed, distances = 0, []
        for identity in images:
            old, new = before[identity][stage], after[identity][stage]
            changed += sum(first != second for first, second in zip(old, new, strict=True))
            for owner in sorted(set(old + new) - {-1}):
                sets = [{n for n, value in enumerate(vector) if value == owner} for vector in (old, new)]
                distances.append(1 - len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
        figures.append((changed / len(images), sum(distances) / len(distances)))
    return figures


def logged_figures(folder: Path, name: str) -> list[tuple[float, float]]:
    keys = [f"assign/{name}/{figure}" for figure in ("changed_queries_per_image", "instability")]
    return list(zip(*(logged(folder, key) for key in keys), strict=True))


@pytest.mark.parametrize("learned", [False, True], ids=["two_stage", "learned"])
def test_one_to_one_assignment_gives_the_published_score(cache: Path, tmp_path: Path, learned: bool) -> None:
    options = {"detector": tiny_detector(num_classes=6, learned=learned)}
    rule = one_to_one(is_two_stage=not learned)
    recorder = train(cache, tmp_path, AssignmentInstability(num_images=9), criterion=rule, lr=1e-2, **options)
    names = ["layer0", "layers"] if learned else ["layer0", "layers", "proposals"]
    for name in names:
        values = expected(recorder, name, NUM_IMAGES)
        assert logged_figures(tmp_path, name) == [pytest.approx(value) for value in values]
        assert len(values) == NUM_EPOCHS - 1
        assert any(changed > 0 for changed, _ in values)


def test_one_to_many_assignment_gives_the_overlap_of_sets_of_the_first_images(cache: Path, tmp_path: Path) -> None:
    rule = QueryCriterion(layer_assigner=IoUAssigner(tau=0.2), proposal_assigner=IoUAssigner(tau=0.2, gamma=None))
    recorder = train(cache, tmp_path, AssignmentInstability(num_images=1), criterion=rule, lr=1e-2)
    for name in ("layers", "proposals"):
        assert logged_figures(tmp_path, name) == [pytest.approx(value) for value in expected(recorder, name, 1)]
    assert logged_figures(tmp_path, "proposals") == [(0, 0)] * (NUM_EPOCHS - 1)  # anchors stay where they are
    assert any(distance > 0 for _, distance in logged_figures(tmp_path, "layers"))


def test_weights_that_stay_give_no_instability_even_where_sampling_cuts(cache: Path, tmp_path: Path) -> None:
    rule = IoUAssigner(tau=0.0, max_per_target=None, gamma=0.1)
    options = {"criterion": QueryCriterion(layer_assigner=rule, proposal_assigner=IoUAssigner()), "lr": 0.0}
    recorder = train(cache, tmp_path, AssignmentInstability(), **options)
    assert all(vectors["layers"].count(-1) < len(vectors["layers"]) for vectors in recorder.validations[0].values())
    assert logged_figures(tmp_path, "layers") == [(0, 0)] * (NUM_EPOCHS - 1)


class Renumber(pl.Callback):
    """Reverses the order of the queries after every second validation batch of the run, as a new ranking does."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose."""
        self._is_reversed = trainer.current_epoch % 2 == 1

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, *_: object
    ) -> None:
        """Reverse matches and selection together."""
        assert isinstance(pl_module, DetectionModule)
        last = pl_module.last
        assert last is not None
        assert last.losses is not None
        if self._is_reversed:
            key = StageKey("layers")
            made = last.losses.matches[key]
            made = replace(made, classes=replace(made.classes, target=made.classes.target.flip(1)))
            stages = {
                stage: part if part.source is None else replace(part, source=part.source.flip(1))
                for stage, part in last.output.stages.items()
            }
            losses = replace(last.losses, matches={**last.losses.matches, key: made})
            pl_module.last = replace(last, losses=losses, output=replace(last.output, stages=stages))


def test_another_ranking_of_the_same_positions_is_no_change(cache: Path, tmp_path: Path) -> None:
    rule = QueryCriterion(layer_assigner=IoUAssigner(tau=0.2), proposal_assigner=IoUAssigner())
    train(cache, tmp_path, Renumber(), AssignmentInstability(), criterion=rule, lr=0.0)
    assert logged_figures(tmp_path, "layers") == [(0, 0)] * (NUM_EPOCHS - 1)


def test_figures_by_size_average_to_the_whole(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path, AssignmentInstability(), criterion=one_to_one(is_two_stage=True), lr=1e-2)
    row = next(row for row in read_metrics(tmp_path / "metrics.jsonl") if "assign/layers/instability" in row)
    parts = [value for key, value in row.items() if key.startswith("assign/layers/instability_")]
    assert parts
    assert min(parts) <= row["assign/layers/instability"] <= max(parts)


def test_images_with_other_positions_are_left_out(cache: Path, tmp_path: Path) -> None:
    callback = AssignmentInstability()
    train(cache, tmp_path / "first", callback)
    checkpoint: dict[str, Any] = {}
    trainer = make_trainer(tmp_path / "unused")
    callback.on_save_checkpoint(trainer, pl.LightningModule(), checkpoint)
    for images in checkpoint["deta_instability"]:
        for image in images.values():
            image["layers"]["num_candidates"] += 1
    torch.save(checkpoint, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    other = AssignmentInstability()
    other.on_load_checkpoint(trainer, pl.LightningModule(), loaded)
    train(cache, tmp_path / "second", other)
    assert len(logged_figures(tmp_path / "second", "layers")) == NUM_EPOCHS - 1
    assert len(logged_figures(tmp_path / "second", "proposals")) == NUM_EPOCHS


def test_a_wrong_number_is_named() -> None:
    with pytest.raises(ValueError, match=r"instability.num_images must be at least 0, got -1"):
        AssignmentInstability(num_images=-1)
