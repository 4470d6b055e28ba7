"""A search whose trainings are played: what dies anywhere and is called again comes out as if it had not died."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import pytest
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial

from deta.runs.state import RunState, is_done, mark_done, read_status
from deta.studies.search import Search, StoppedSearch
from deta.studies.space import Parameter, Value, as_override

NUM_EPOCHS = 4
SPACE = (
    Parameter("tau", low=0.3, high=0.8, step=0.05),
    Parameter("n", choices=(1, 4, None)),
)


class Death(BaseException):
    """The process of the search is gone."""


class Played:
    """A training that does an epoch between two looks and goes on where the record in its folder ends."""

    def __init__(self, folder: Path, values: Mapping[str, Value], *, code: int = 0) -> None:
        self._record = folder / "metrics.jsonl"
        self._values = values
        self._code = code
        self._is_stopped = False
        folder.mkdir(parents=True, exist_ok=True)

    def poll(self) -> int | None:
        """Do an epoch."""
        num_done = len(self._record.read_text().splitlines()) if self._record.exists() else 0
        if self._is_stopped:
            return 143
        if self._code:
            return self._code
        if num_done == NUM_EPOCHS:
            if not is_done(self._record.parent):
                mark_done(self._record.parent, {})
            return 0
        tau = self._values["tau"]
        assert isinstance(tau, float)
        quality = 0.5 - (tau - 0.6) ** 2 - (0.1 if self._values["n"] is None else 0)
        with self._record.open("a") as file:
            file.write(json.dumps({"step": num_done, "epoch": num_done, "val/AP": quality * (num_done + 1)}) + "\n")
        return None

    def terminate(self) -> None:
        """Stop."""
        self._is_stopped = True

    def wait(self) -> int:
        """The code."""
        return self.poll() or 0


Start = Callable[[Path, Mapping[str, Value]], Played]


def search(folder: Path, *, num_trials: int = 6, start: Start = Played, **changes: Any) -> Search:  # noqa: ANN401
    pruner: BasePruner = MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    options: dict[str, Any] = {
        "parameters": SPACE,
        "num_epochs": NUM_EPOCHS,
        "metric": "AP",
        "sampler": partial(TPESampler, n_startup_trials=3),
        "pruner": pruner,
        "seed": 0,
        "seconds_between_looks": 0.0,
    }
    return Search(folder=folder, num_trials=num_trials, start=start, **{**options, **changes})


def contents(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    """What is the same in a repetition."""
    return [(trial.number, trial.state, trial.params, trial.value, trial.intermediate_values) for trial in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[object, ...]], int]:
    """An uninterrupted search and the number of moments in which it can die."""
    with dying(None) as moments:
        trials = search(tmp_path_factory.mktemp("whole")).run()
    return contents(trials), moments[0]


@contextmanager
def dying(strike_at: int | None) -> Iterator[list[int]]:
    """Die at one of the moments before and after all that a search does; yields their number."""
    moments = [0]

    def moment() -> None:
        moments[0] += 1
        if strike_at is not None and moments[0] == strike_at:
            raise Death

    def surrounded(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            moment()
            result = function(*arguments, **options)
            moment()
            return result

        return wrapper

    places: list[tuple[type, str]] = [
        (optuna.Study, "ask"),
        (optuna.Study, "tell"),
        (Trial, "report"),
        (Trial, "suggest_categorical"),
        (Played, "poll"),
        (Played, "terminate"),
    ]
    with mock.patch.multiple("deta.studies.search", mark_done=surrounded(mark_done)):
        patches = [mock.patch.object(kind, name, surrounded(getattr(kind, name))) for kind, name in places]
        for patch in patches:
            patch.start()
        try:
            yield moments
        finally:
            for patch in patches:
                patch.stop()


def assert_survives(folder: Path, whole: tuple[list[tuple[object, ...]], int], strike_at: int) -> None:
    with pytest.raises(Death), dying(strike_at):
        search(folder).run()
    assert contents(search(folder).run()) == whole[0], f"after dying at moment {strike_at}"


def test_a_search_that_died_continues_its_count_and_loses_no_trial(
    tmp_path: Path, whole: tuple[list[tuple[object, ...]], int]
) -> None:
    for strike_at in range(1, whole[1], 61):
        assert_survives(tmp_path / str(strike_at), whole, strike_at)


@pytest.mark.slow
def test_a_search_survives_death_at_every_moment(tmp_path: Path, whole: tuple[list[tuple[object, ...]], int]) -> None:
    for strike_at in range(1, whole[1] + 1):
        assert_survives(tmp_path / str(strike_at), whole, strike_at)


def test_a_search_prunes_completes_and_writes_its_table(
    tmp_path: Path, whole: tuple[list[tuple[object, ...]], int]
) -> None:
    trials = search(tmp_path).run()
    assert contents(trials) == whole[0]
    states = [trial.state.name for trial in trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    for trial in trials:
        folder = tmp_path / f"trial{trial.number:04d}"
        status = read_status(folder)
        assert status.state == RunState.DONE  # also a pruned one: nothing is left to do
        assert status.message == ("pruned" if trial.state.name == "PRUNED" else "")
        num_rows = len((folder / "metrics.jsonl").read_text().splitlines())
        assert (num_rows == NUM_EPOCHS) == (trial.state.name == "COMPLETE")
        assert 1 <= max(trial.intermediate_values) <= num_rows
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == [state.lower() for state in states]
    assert {"trial", "AP", "epochs", "tau", "n"} == set(rows[0]) - {"state"}


def test_more_trials_extend_a_search_and_a_finished_one_trains_nothing(
    tmp_path: Path, whole: tuple[list[tuple[object, ...]], int]
) -> None:
    first = contents(search(tmp_path, num_trials=4).run())
    assert contents(search(tmp_path, num_trials=6).run())[:4] == first == whole[0][:4]
    assert contents(search(tmp_path, start=mock.Mock(side_effect=AssertionError)).run()) == whole[0]


def test_a_failed_trial_counts_and_three_in_a_row_end_the_search(tmp_path: Path) -> None:
    def start(folder: Path, values: Mapping[str, Value]) -> Played:
        return Played(folder, values, code=1 if folder.name in failing else 0)

    failing = {"trial0001"}
    trials = search(tmp_path / "one", num_trials=3, start=start).run()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    failing = {f"trial000{number}" for number in range(9)}
    with pytest.raises(RuntimeError, match=r"the last 3 trials failed, see .*trial0002"):
        search(tmp_path / "all", start=start).run()


def test_a_training_that_a_signal_stopped_ends_the_search_and_goes_on_later(
    tmp_path: Path, whole: tuple[list[tuple[object, ...]], int]
) -> None:
    with pytest.raises(StoppedSearch, match="trial 0 was stopped by a signal"):
        search(tmp_path, start=partial(Played, code=143)).run()
    assert contents(search(tmp_path).run()) == whole[0]


def test_a_folder_belongs_to_one_search(tmp_path: Path) -> None:
    search(tmp_path, num_trials=1, settings=["seed=0"]).run()
    with pytest.raises(ValueError, match=r"holds a search with other parameters or words \(\['seed=0'\]\)"):
        search(tmp_path, num_trials=1, settings=["seed=1"]).run()
    with pytest.raises(ValueError, match="holds a search with other parameters"):
        search(tmp_path, num_trials=1, settings=["seed=0"], parameters=SPACE[:1]).run()


def test_two_processes_cannot_work_at_one_search(tmp_path: Path) -> None:
    def start(folder: Path, values: Mapping[str, Value]) -> Played:
        with pytest.raises(RuntimeError, match="another process works at this search"):
            search(tmp_path).run()
        return Played(folder, values)

    assert len(search(tmp_path, num_trials=1, start=start).run()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (0.5, "tau must have choices, or low and high, got 0.5"),
        ({"low": 0.1}, "tau must have choices .*, or low, high and perhaps step and log, got low"),
        ({"choices": []}, "tau must have choices"),
        ({"low": 1, "high": 2, "steps": 1}, "got low, high, steps"),
        ({"low": 1, "high": 1}, "must have low < high and step > 0"),
        ({"low": 0, "high": 1, "log": True}, "with log must have low > 0 and no step"),
        ({"low": "a", "high": 1}, "tau.low must be a number, got 'a'"),
        ({"low": 1, "high": 2, "log": 1}, "tau.log must be true or false, got 1"),
    ],
)
def test_a_wrong_range_is_named(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"search.parameters: .*{message}"):
        Parameter.from_content("tau", content)


def test_values_keep_their_kind_on_the_command_line() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    contents = {
        "whole": {"low": 1, "high": 9},
        "even": {"low": 2, "high": 8, "step": 2},
        "real": {"low": 0.3, "high": 0.7, "step": 0.1},
        "log": {"low": 1e-5, "high": 1e-2, "log": True},
        "choice": {"choices": [None, True, "iou"]},
    }
    for _ in range(20):
        trial = study.ask()
        values = {key: Parameter.from_content(key, content).suggest(trial) for key, content in contents.items()}
        assert isinstance(values["whole"], int)
        assert values["even"] in (2, 4, 6, 8)
        assert values["real"] in (0.3, 0.4, 0.5, 0.6, 0.7)
        assert isinstance(values["log"], float)
        assert 1e-5 <= values["log"] <= 1e-2
        assert as_override("a.b", values["choice"]) in ("a.b=null", "a.b=true", "a.b=iou")
