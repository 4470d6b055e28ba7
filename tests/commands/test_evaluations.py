"""The final weights of a training, evaluated under several selections of detections."""

import json
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from torch import Tensor

from deta.building.evaluations import make_selections
from deta.evaluation import read_evaluation
from deta.models.postprocess import TopK
from deta.runs.state import RunState, read_status
from deta.structures import Detections, Prediction
from deta.tracking.metrics import read_metrics
from tests.commands.running import TINY_TRAINING, deta, succeed
from tests.commands.test_sweep import name_of

NMS_NODE = {"_target_": "deta.models.postprocess.NMS"}
BOTH = ("+postprocess@evaluations.nms=nms", "+postprocess@evaluations.topk=topk", "evaluations.topk.max_detections=7")


def scores(folder: Path) -> dict[str, float]:
    found = read_evaluation(folder)
    assert found is not None
    return dict(found.metrics)


def train_and_judge(folder: Path, *words: str) -> Path:
    """A run whose final weights were evaluated both ways; a high rate gives numbers that differ from step to step."""
    speed = ("trainer.max_epochs=8", "trainer.check_val_every_n_epoch=8", "optimizer.lr=2e-3", "seed=1")
    succeed("train", *TINY_TRAINING, *speed, *BOTH, *words, f"hydra.run.dir={folder}")
    return folder


@pytest.mark.parametrize(
    "content",
    [{"../../x": NMS_NODE}, {"a/b": NMS_NODE}, {".": NMS_NODE}, {"x": None}, {"x": 3}, {"x": {"a": 1}}],
    ids=str,
)
def test_a_name_that_leaves_the_run_or_what_is_no_selection_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="evaluations"):
        make_selections(OmegaConf.create({"evaluations": content}))


def test_evaluations_must_be_selections_by_name() -> None:
    for value in ("../../x", 3, ["nms"], None):
        with pytest.raises(ValueError, match=r"evaluations must name selections, such as \+postprocess@evaluations"):
            make_selections(OmegaConf.create({"evaluations": value}))
    assert list(make_selections(OmegaConf.create({"evaluations": {"x": NMS_NODE}}))) == ["x"]


@pytest.fixture(scope="module")
def judged(workplace: Path) -> Path:
    return train_and_judge(workplace / "judged")


@pytest.fixture(scope="module")
def averaged(workplace: Path) -> Path:
    """The same with weights that are averaged."""
    return train_and_judge(workplace / "averaged", "callbacks=ema", "callbacks.ema.decay=0.9")


@pytest.mark.parametrize("run", ["judged", pytest.param("averaged", marks=pytest.mark.slow)])
def test_the_numbers_are_those_of_the_last_checkpoint(run: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    judged: Path = request.getfixturevalue(run)
    last = judged / "checkpoints" / "last.ckpt"
    for name, words in (("nms", []), ("topk", ["postprocess.max_detections=7"])):
        folder = tmp_path / name
        succeed("eval", f"ckpt={last}", f"postprocess={name}", *words, f"hydra.run.dir={folder}")
        again, first = read_evaluation(folder), read_evaluation(judged / "evaluations" / name)
        assert again is not None
        assert first is not None
        assert dict(first.metrics) == pytest.approx(dict(again.metrics), nan_ok=True)
        assert first.matches().scores == pytest.approx(again.matches().scores, rel=1e-5)
    assert len(json.loads((judged / "evaluations" / "topk" / "predictions.json").read_text())) == 4 * 7


def test_the_record_of_the_training_knows_nothing_of_them(judged: Path) -> None:
    rows = read_metrics(judged / "metrics.jsonl")
    assert sum("val/AP" in row for row in rows) == 1
    assert scores(judged / "evaluations" / "nms")["AP"] == pytest.approx(
        next(row["val/AP"] for row in rows if "val/AP" in row)
    )


def test_a_run_that_was_killed_before_the_end_evaluates_what_is_missing(judged: Path) -> None:
    kept = judged / "evaluations" / "nms" / "metrics.json"
    before = kept.stat().st_mtime_ns
    (judged / "done.json").unlink()
    (judged / "evaluations" / "topk" / "metrics.json").unlink()
    succeed("train", f"ckpt={judged}")
    assert kept.stat().st_mtime_ns == before
    assert (judged / "evaluations" / "topk" / "metrics.json").is_file()
    assert (judged / "done.json").is_file()


class Alarm(TopK):
    """Selects as always, but the process is told to stop, once, when the training is over."""

    def __init__(self, mark: str) -> None:
        super().__init__(max_detections=7)
        self._mark = Path(mark)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Select."""
        if not self._mark.exists():
            self._mark.touch()
            signal.raise_signal(signal.SIGTERM)
        return super().__call__(prediction, original_sizes)


def test_a_signal_ends_them_and_a_later_call_does_the_rest(tmp_path: Path) -> None:
    run = tmp_path / "run"
    alarm = f"{{_target_: {__name__}.Alarm, mark: '{tmp_path}/mark'}}"
    words = (*BOTH[:1], f"+evaluations.zzz={alarm}", f"hydra.run.dir={run}")
    stopped = deta("train", *TINY_TRAINING, *words)
    assert stopped.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after step 2" in stopped.err
    assert read_status(run).state == RunState.RESUMABLE
    assert (run / "evaluations" / "nms" / "metrics.json").is_file()
    rows = (run / "metrics.jsonl").read_text()
    succeed("train", f"ckpt={run}")
    assert read_status(run).state == RunState.DONE
    assert (run / "evaluations" / "zzz" / "metrics.json").is_file()
    assert (run / "metrics.jsonl").read_text() == rows


def test_they_change_no_name() -> None:
    assert name_of(*BOTH) == name_of()
