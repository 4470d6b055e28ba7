"""A search for good values by Optuna that may be killed at any moment and goes on where it was."""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from deta.runs.former import first_key
from deta.runs.former_words import present_words
from deta.runs.state import DONE, RunState, mark_done, read_status
from deta.studies.space import Parameter, Value
from deta.tracking.metrics import read_metrics
from deta.utils.checks import require_int, require_number
from deta.utils.tables import write_csv
from deta.utils.wording import told

STORAGE = "search.db"
"""Optuna's record in the folder of a search, which its dashboard can show."""
TABLE = "trials.csv"
MOST_FAILURES = 3
"""So many failed trials in a row end a search: then it is not the values that are wrong."""
_SIGNALLED = 128
"""Exit codes from here on: a training that a signal has stopped after saving."""


class StoppedSearch(Exception):  # noqa: N818 - no error: it was asked for
    """A signal has stopped the training of a trial; the next call goes on with it."""


class TrialProcess(Protocol):
    """A running process, as ``subprocess.Popen`` is one."""

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to save and stop."""
        ...

    def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        ...


class Search:
    """Trials one after the other, each a training in a directory of its own, ``trial<number>``.

    After every validation the metric is reported, and the pruner may end the trial. All decisions are on disk before
    they are acted on: a search that died asks for nothing twice and forgets nothing. A trial that it was at goes on
    with the same values from its last checkpoint. Each trial has its own seed of the sampler, so that an interrupted
    search suggests the values that an uninterrupted one would have.

    Args:
        folder: Where Optuna's record, the table and the trials go.
        parameters: What is searched.
        num_trials: Trials in all, pruned and failed ones included, from 1; may grow from one call to the next.
        num_epochs: Epochs of a whole training.
        metric: Name of the metric of the validation, such as ``AP``; larger is better.
        sampler: Makes a sampler of a seed.
        pruner: Decides which trials end early; None ends none.
        seed: From which the seeds of the trials are derived.
        start: Starts, or continues, the training of a trial in a directory with these values.
        settings: What else decides the outcome, as plain data; a folder belongs to one parameters and settings.
        seconds_between_looks: Between two looks at the metrics of the running training, above 0.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        folder: Path,
        parameters: Sequence[Parameter],
        num_trials: int,
        num_epochs: int,
        metric: str,
        sampler: Callable[..., BaseSampler],
        pruner: BasePruner | None,
        seed: int,
        start: Callable[[Path, Mapping[str, Value]], TrialProcess],
        settings: Sequence[str] = (),
        seconds_between_looks: float = 5.0,
    ) -> None:
        if not parameters:
            raise ValueError("search.parameters must name a key, got none")
        self._folder = folder
        self._parameters = self._asked = tuple(parameters)
        self._num_trials = require_int("search.num_trials", num_trials, low=1)
        self._num_epochs = num_epochs
        self._metric = metric
        self._sampler = sampler
        self._pruner = pruner or NopPruner()
        self._seed = require_int("search.seed", seed, low=0)
        self._start = start
        self._settings = {"parameters": [repr(parameter) for parameter in parameters], "words": list(settings)}
        self._pause = require_number("search.seconds_between_looks", seconds_between_looks, low=0)

    def run(self) -> list[FrozenTrial]:
        """Finish what is begun, then go on until there are ``num_trials``.

        Returns:
            All trials in their order.

        Raises:
            ValueError: The folder holds another search.
            RuntimeError: Another process works at this search, or nothing but failures came out.
            StoppedSearch: A signal has stopped a training.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with _alone(self._folder / "search.lock"):
            study = self._load()
            for trial in study.get_trials(states=[TrialState.RUNNING]):
                self._do(study, self._resumed(study, trial))
            while sum(trial.state.is_finished() for trial in study.get_trials()) < self._num_trials:
                number = len(study.get_trials(deepcopy=False))
                study.sampler = self._sampler_of(number)
                self._do(study, study.ask())
            return study.get_trials()

    def _load(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=f"sqlite:///{(self._folder / STORAGE).resolve()}",
            study_name="search",
            direction=StudyDirection.MAXIMIZE,
            pruner=self._pruner,
            load_if_exists=True,
        )
        settings = study.user_attrs.get("settings")
        if settings is None:
            study.set_user_attr("settings", self._settings)
            return study
        former = [replace(parameter, key=first_key(parameter.key)) for parameter in self._parameters]
        if settings["parameters"] == [repr(parameter) for parameter in former]:
            self._asked = tuple(former)  # Optuna knows the trials of this search by these names
        known = [repr(parameter) for parameter in self._asked]
        if settings["parameters"] != known or sorted(present_words(settings["words"])) != self._settings["words"]:
            raise ValueError(
                f"{self._folder} holds a search with other parameters or words ({settings['words']}): name another "
                "folder with hydra.run.dir=<folder>"
            )
        return study

    def _sampler_of(self, number: int) -> BaseSampler:
        return self._sampler(seed=int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0]))

    def _resumed(self, study: optuna.Study, trial: FrozenTrial) -> Trial:
        study.sampler = self._sampler_of(trial.number)
        return Trial(study, trial._trial_id)

    def _do(self, study: optuna.Study, trial: Trial) -> None:
        """Bring one trial to its end."""
        pairs = zip(self._parameters, self._asked, strict=True)
        values = {parameter.key: asked.suggest(trial) for parameter, asked in pairs}
        folder = self._folder / f"trial{trial.number:04d}"
        print(f"trial {trial.number}: {', '.join(f'{key}={value}' for key, value in values.items())}", flush=True)
        state = self._train(trial, folder, values)
        found = self._found(folder)
        if state == TrialState.COMPLETE and not found:
            print(f"trial {trial.number}: val/{self._metric} was never measured", flush=True)
            state = TrialState.FAIL
        study.tell(trial, max(found)[1] if state == TrialState.COMPLETE else None, state=state)
        self._report(study, trial.number)

    def _train(self, trial: Trial, folder: Path, values: Mapping[str, Value]) -> TrialState:
        """Train until the end, or until the pruner or a signal ends it."""
        _wait_for_another(folder, self._pause)
        if self._is_pruned(trial, folder):
            return _pruned(folder)
        if (folder / DONE).is_file():
            return TrialState.COMPLETE
        training = self._start(folder, values)
        try:
            while training.poll() is None:
                time.sleep(self._pause)
                if self._is_pruned(trial, folder):
                    break
        finally:
            if training.poll() is None:
                training.terminate()
            code = training.wait()
        if self._is_pruned(trial, folder):
            return _pruned(folder)
        if code >= _SIGNALLED:
            raise StoppedSearch(f"trial {trial.number} was stopped by a signal: the same command goes on with it")
        return TrialState.COMPLETE if code == 0 else TrialState.FAIL

    def _is_pruned(self, trial: Trial, folder: Path) -> bool:
        """Report what is new, up to the validation at which the pruner ends the trial.

        The pruner is asked after every single report and not after the last epoch, so that the answer does not depend
        on when it was asked.
        """
        known = trial.storage.get_trial(trial._trial_id).intermediate_values
        latest = max(known, default=0)
        for epoch, value in self._found(folder):
            if epoch > latest:
                trial.report(value, epoch)
            if latest <= epoch < self._num_epochs and trial.should_prune():
                return True
        return False

    def _found(self, folder: Path) -> list[tuple[int, float]]:
        """Finished epochs and metric of every validation so far, in their order."""
        path, key = folder / "metrics.jsonl", f"val/{self._metric}"
        rows = read_metrics(path) if path.is_file() else []
        return [(int(row["epoch"]) + 1, row[key]) for row in rows if row.get(key) is not None]

    def _report(self, study: optuna.Study, number: int) -> None:
        """Say what came out, bring the table up to date and stop where nothing works."""
        trials = study.get_trials()
        done = trials[number]
        value = "no value" if done.value is None else f"{self._metric} {told(self._metric, done.value)}"
        print(f"trial {number}: {done.state.name.lower()}, {value}", flush=True)
        write_csv(self._folder / TABLE, [row_of(trial, self._metric) for trial in trials])
        latest = [trial.state for trial in trials[-MOST_FAILURES:]]
        if len(latest) == MOST_FAILURES and set(latest) == {TrialState.FAIL}:
            raise RuntimeError(f"the last {MOST_FAILURES} trials failed, see {self._folder / f'trial{number:04d}'}")


def row_of(trial: FrozenTrial, metric: str) -> dict[str, Any]:
    """A row of the table of trials."""
    steps = trial.intermediate_values
    latest = steps[max(steps)] if steps else None
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        metric: latest if trial.value is None else trial.value,
        "epochs": max(steps, default=0),
        **trial.params,
    }


def _pruned(folder: Path) -> TrialState:
    """Note that there is nothing left to do in this directory."""
    status = read_status(folder)
    if status.state != RunState.DONE:
        mark_done(
            folder, {"step": status.step, "AP": status.metric, "scores_epoch": status.metric_epoch, "is_pruned": True}
        )
    return TrialState.PRUNED


def _wait_for_another(folder: Path, pause: float) -> None:
    """A training that has outlived its search is left to its end."""
    while (status := read_status(folder)).state == RunState.RUNNING:
        print(f"{folder} is still trained by {status.message}: waiting for it", flush=True)
        time.sleep(max(pause, 1.0))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends; why not flufl.lock: see ``deta.runs.claims``."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"{path.parent}: another process works at this search") from error
        yield
