"""The logged statistics of the assignment against a count with loops."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from deta.assign import GivenAssigner, HungarianAssigner, IoUAssigner
from deta.data.shapes_drawing import SHAPES
from deta.losses import Criterion, FocalLoss, L1Loss, Rule
from deta.models import DenoisingQueries, LabelEmbedding
from deta.structures import SIZE_NAMES, Batch, Matches, MatchStatistics, StageKey, Targets
from deta.tracking.metrics import read_metrics
from deta.training.callbacks import AssignmentStatistics
from deta.training.callbacks.assignment import summary
from deta.training.module import DetectionModule
from tests.losses.criteria import QueryCriterion
from tests.models.tiny import HIDDEN_DIM, query_body, tiny_detector
from tests.training.tiny import detection_module, logged, make_trainer, shapes

Step = tuple[Targets, dict[StageKey, Matches]]


class Recorder(pl.Callback):
    """Keeps objects and assignments of every training step."""

    def __init__(self) -> None:
        self.steps: list[tuple[Targets, dict[StageKey, Matches]]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Record."""
        assert isinstance(pl_module, DetectionModule)
        assert pl_module.last is not None
        assert pl_module.last.losses is not None
        matches = {key: made.classes for key, made in pl_module.last.losses.matches.items()}
        self.steps.append((batch.targets, matches))


def positives_of_objects(
    steps: list[tuple[Targets, dict[StageKey, Matches]]], stage: StageKey
) -> list[tuple[int, int]]:
    """Object size and number of positives of every object."""
    counts = []
    for targets, matches in steps:
        assigned = matches[stage].target.tolist()
        for image, is_object in enumerate(targets.is_object.tolist()):
            for index in [k for k, flag in enumerate(is_object) if flag]:
                size = int(targets.size_class()[image, index])
                counts.append((size, assigned[image].count(index)))
    return counts


def test_the_logged_figures_of_an_epoch_are_those_of_a_count_by_hand(cache: Path, tmp_path: Path) -> None:
    data, recorder = shapes(cache, num_train=8, batch_size=2), Recorder()
    callbacks: list[pl.Callback] = [AssignmentStatistics(), recorder]
    trainer = make_trainer(tmp_path, callbacks=callbacks, max_epochs=2, limit_val_batches=0)
    trainer.fit(detection_module(data), datamodule=data)
    assert len(recorder.steps) == 8
    for epoch, steps in enumerate((recorder.steps[:4], recorder.steps[4:])):
        for name, stage in (("proposals", StageKey("first")), ("layers", StageKey("layers"))):
            counts = positives_of_objects(steps, stage)
            for suffix, sizes in {"": {0, 1, 2}, "_small": {0}, "_medium": {1}, "_large": {2}}.items():
                chosen = [positives for size, positives in counts if size in sizes]
                key = f"assign/{name}/{{}}{suffix}"
                assert bool(logged(tmp_path, key.format("positives_per_object"))) == bool(chosen)
                if chosen:
                    mean, unmatched = sum(chosen) / len(chosen), chosen.count(0) / len(chosen)
                    assert logged(tmp_path, key.format("positives_per_object"))[epoch] == pytest.approx(mean)
                    assert logged(tmp_path, key.format("unmatched_share"))[epoch] == pytest.approx(unmatched)


def test_one_to_one_assignment_shows_one_positive_per_object(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    one_to_one = QueryCriterion(
        layer_assigner=HungarianAssigner(), proposal_assigner=HungarianAssigner(), rematch="per_layer"
    )
    trainer = make_trainer(tmp_path, callbacks=[AssignmentStatistics()], limit_val_batches=0)
    trainer.fit(detection_module(data, criterion=one_to_one), datamodule=data)
    for stage in ("proposals", "layers"):
        assert logged(tmp_path, f"assign/{stage}/positives_per_object") == [1.0]
        assert logged(tmp_path, f"assign/{stage}/unmatched_share") == [0.0]


def test_every_layer_with_an_assignment_of_its_own_is_logged(cache: Path, tmp_path: Path) -> None:
    stages: dict[str, set[str]] = {}
    for rematch in ("once", "per_layer"):
        data, folder = shapes(cache), tmp_path / rematch
        rule = QueryCriterion(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(), rematch=rematch)
        callbacks: list[pl.Callback] = [AssignmentStatistics(), recorder := Recorder()]
        trainer = make_trainer(folder, callbacks=callbacks, limit_val_batches=0)
        trainer.fit(detection_module(data, criterion=rule), datamodule=data)
        keys = {key for row in read_metrics(folder / "metrics.jsonl") for key in row if key.startswith("assign/")}
        stages[rematch] = {key.split("/")[1] for key in keys}
        keys_of = {"layer0": StageKey("layers", 0), "layers": StageKey("layers", 1)}
        for name, key in keys_of.items():
            if rematch == "once":
                key = StageKey("layers")
            counts = [positives for _, positives in positives_of_objects(recorder.steps, key)]
            expected = [] if name not in stages[rematch] else [pytest.approx(sum(counts) / len(counts))]
            assert logged(folder, f"assign/{name}/positives_per_object") == expected
    assert stages == {"once": {"proposals", "layers"}, "per_layer": {"proposals", "layer0", "layers"}}


def statistics(*, noted: dict[str, object] | None = None, **changes: object) -> MatchStatistics:
    """Four images: four small objects with three positives of IoU 0.2, 0.3, 0.4; one large one with five of 0.9."""
    values: dict[str, object] = {
        "num_images": 4,
        "num_objects": (4, 0, 1),
        "num_positives": (3, 0, 5),
        "num_unmatched": (1, 0, 0),
        "sum_iou": (0.9, 0, 4.5),
        "num_ignored": 2,
        **changes,
    }
    notes = {"rescued": (3, 0, 1), "contested": (2, 0, 4), "cut": 1} if noted is None else noted
    return MatchStatistics(
        **{name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()},
        noted={name: torch.tensor(value, dtype=torch.float32) for name, value in notes.items()},
    )


def test_sums_become_shares_and_means() -> None:
    assert dict(summary(statistics())) == pytest.approx(
        {
            "positives_per_object": 8 / 5,
            "positives_per_object_small": 3 / 4,
            "positives_per_object_large": 5.0,
            "unmatched_share": 1 / 5,
            "unmatched_share_small": 1 / 4,
            "unmatched_share_large": 0.0,
            "mean_iou": 5.4 / 8,
            "mean_iou_small": 0.3,
            "mean_iou_large": 0.9,
            "rescued_share": 4 / 8,
            "rescued_share_small": 1.0,
            "rescued_share_large": 1 / 5,
            "rescued_per_image": 4 / 4,
            "contested_share": 6 / 8,
            "contested_share_small": 2 / 3,
            "contested_share_large": 4 / 5,
            "contested_per_image": 6 / 4,
            "ignored_per_image": 2 / 4,
            "cut_images_share": 1 / 4,
        }
    )


def test_figures_without_anything_behind_them_are_left_out() -> None:
    nothing = (0, 0, 0)
    unmatched = statistics(num_positives=nothing, num_unmatched=(4, 0, 1), sum_iou=nothing)
    names = set(summary(unmatched))
    assert {f"unmatched_share{size}" for size in ("", "_small", "_large")} <= names
    assert not {name for name in names if name.startswith(("mean_iou", "rescued_share"))}
    assert not {name for name in names if name.endswith(f"_{SIZE_NAMES[1]}")}
    empty = statistics(num_objects=nothing, num_positives=nothing)
    assert set(summary(empty)) == {
        "rescued_per_image",
        "contested_per_image",
        "ignored_per_image",
        "cut_images_share",
    }


@pytest.mark.parametrize(("role", "max_slots"), [("denoise", None), ("denoise", 1), ("noise/boxes", 1)])
def test_objects_without_a_denoising_query_are_told_of_once(
    role: str, max_slots: int | None, cache: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    data = shapes(cache)
    given = QueryCriterion(layer_assigner=IoUAssigner(), proposal_assigner=IoUAssigner(gamma=None))
    denoise = Rule(GivenAssigner(), box_terms={"l1": L1Loss()}, class_terms={"class": FocalLoss()})
    criterion = Criterion({**given.rules, role: denoise})
    detector = tiny_detector(num_classes=len(SHAPES))
    body = query_body(detector)
    body.source.labels = LabelEmbedding(num_classes=len(SHAPES), hidden_dim=HIDDEN_DIM)
    body.groups[role] = DenoisingQueries(source=body.source, max_slots=max_slots)
    trainer = make_trainer(tmp_path, callbacks=[AssignmentStatistics()], max_epochs=2, limit_val_batches=0)
    trainer.fit(detection_module(data, criterion=criterion, detector=detector), datamodule=data)
    told = [str(warning.message) for warning in recwarn if "max_slots" in str(warning.message)]
    assert len(told) == (0 if max_slots is None else 1)
    assert all(f"model.body.groups.{role}.max_slots" in each for each in told)
    shares = logged(tmp_path, f"assign/{role}/layers/unmatched_share")
    assert all((share > 0) == (max_slots == 1) for share in shares)
