"""What a part of a run leaves in writing, and with what it is continued."""

import json
from pathlib import Path
from unittest import mock

import pytest
from omegaconf import DictConfig, OmegaConf

from deta.console.words import recorded_words
from deta.launching.parts import changed_settings
from deta.losses import Criterion
from deta.runs.cells import WORDS
from deta.studies.settings import told
from deta.tracking.metrics import read_metrics
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, fail, succeed


def record(folder: Path) -> dict[str, bytes]:
    """Everything that tells with what the run trained."""
    names = (WORDS, "config*.yaml", "environment*.json")
    return {path.name: path.read_bytes() for name in names for path in folder.glob(name)}


def rates(folder: Path) -> list[float]:
    """The base rate of every epoch."""
    key = "lr-AdamW/base"
    return [row[key] for row in read_metrics(folder / "metrics.jsonl") if key in row]


def test_words_of_a_run_are_those_that_it_was_started_with(trained: Run) -> None:
    assert recorded_words(trained.folder) == json.loads((trained.folder / WORDS).read_text()) == list(TINY_TRAINING)


def test_overrides_of_a_continued_run_have_their_effect_and_stay(own_run: Path) -> None:
    (rate,) = rates(own_run)
    assert rate != 1e-5
    changes = ("optimizer.lr=1e-5", "schedule.make.milestones=[2]")
    outcome = succeed("train", f"ckpt={own_run}", "trainer.max_epochs=3", *changes)
    assert f"optimizer.lr {rate} -> 1e-05" in outcome.err
    succeed("train", f"ckpt={own_run}", "trainer.max_epochs=4", "optimizer.lr_factors.backbone=0.5")
    assert rates(own_run) == pytest.approx([rate, 1e-5, 1e-6, 1e-6])
    key = "lr-AdamW/backbone"
    assert [row[key] for row in read_metrics(own_run / "metrics.jsonl") if key in row][-1] == pytest.approx(0.5e-6)
    assert [OmegaConf.load(own_run / f"config{part}.yaml").optimizer.lr for part in ("", "-1", "-2")] == [
        rate,
        1e-5,
        1e-5,
    ]


def test_a_start_that_fails_leaves_no_trace(own_run: Path) -> None:
    before = record(own_run)
    more = (f"ckpt={own_run}", "trainer.max_epochs=2")
    assert "tau must be in [0, 1], got 1.5" in fail("train", *more, "criterion.rules.layers.assigner.tau=1.5")
    message = fail("train", *more, "model.body.hidden_dim=64", "model.body.decoder.num_layers=3")
    assert "deta: model.body.decoder.num_layers 2 -> 3, model.body.hidden_dim 32 -> 64. Settings" in message
    assert "of the model cannot change in a continued run: restore them" in message
    with mock.patch.object(Criterion, "__call__", side_effect=ValueError("no memory")):
        assert "no memory" in fail("train", *more, "data.batch_size=2")
    assert record(own_run) == before
    succeed("train", *more)
    assert OmegaConf.load(own_run / "config-1.yaml").data.batch_size == 4
    assert sorted(record(own_run).keys() - before.keys()) == ["config-1.yaml", "environment-1.json"]


def test_a_run_that_has_its_words_from_hydra_alone_keeps_them(own_run: Path) -> None:
    (own_run / WORDS).unlink()
    fail("train", f"ckpt={own_run}", "trainer.max_epochs=2", "criterion.rules.layers.assigner.tau=1.5")
    assert recorded_words(own_run) == list(TINY_TRAINING)


def settings_with(target: str, criterion: str = "deta.losses.Criterion") -> DictConfig:
    """Some settings of a run, with a callback of this class."""
    content = {"seed": 0, "criterion": {"_target_": criterion, "rules": {"first": None}}}
    return OmegaConf.create({**content, "callbacks": {"x": {"_target_": target, "n": 1}}, "paths": {}})


def test_a_class_that_was_renamed_is_no_other_setting_and_one_that_is_another_has_the_name_of_today() -> None:
    former = settings_with("deta.engine.callbacks.SpeedMonitor", "deta.losses.QueryCriterion")
    present = settings_with("deta.training.callbacks.SpeedMonitor")
    assert changed_settings(former, present) == changed_settings(present, former) == {}
    other = settings_with("deta.training.callbacks.ProgressLine")
    expected = "deta.training.callbacks.SpeedMonitor -> deta.training.callbacks.ProgressLine"
    for before in (former, present):
        assert told(changed_settings(before, other)) == f"callbacks.x._target_ {expected}"


@pytest.mark.parametrize("content", ["{", '{"words": []}', "[1]"])
def test_damaged_words_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / WORDS).write_text(content)
    with pytest.raises(ValueError, match=rf"{WORDS} .*: remove it and give all words of the run"):
        recorded_words(tmp_path)


def test_a_continued_run_takes_no_weights_from_elsewhere_and_needs_not_those_of_its_start(
    trained: Run, tmp_path: Path
) -> None:
    source, run = tmp_path / "source.ckpt", tmp_path / "run"
    source.write_bytes((trained.folder / "checkpoints" / "last.ckpt").read_bytes())
    succeed("train", *TINY_TRAINING, f"weights={source}", f"hydra.run.dir={run}")
    source.unlink()
    succeed("train", f"ckpt={run}", "trainer.max_epochs=2")
    message = fail("train", f"ckpt={run}", "trainer.max_epochs=3", f"weights={trained.folder}")
    assert f"weights={trained.folder} starts a run, but ckpt={run} continues one from its own" in message
