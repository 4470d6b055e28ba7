"""How errors are told."""

import logging
import subprocess
import sys
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.errors import ConfigCompositionException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset

from deta.console import terminal
from deta.console.terminal import describe, exit_with, reports_errors
from deta.data import ImageError
from deta.training.ranks import LostRankError
from tests.commands.running import fail


def error_of(config: object) -> BaseException:
    """The exception of instantiating a configuration."""
    with pytest.raises(InstantiationException) as caught:
        instantiate(OmegaConf.create({"part": config}).part)
    return caught.value


def test_an_error_of_a_constructor_is_told_with_the_key_of_its_part() -> None:
    message = describe(error_of({"_target_": "deta.assign.IoUAssigner", "tau": 2}))
    assert message == "part: tau must be in [0, 1], got 2"


def test_a_part_inside_a_part_is_named_by_its_whole_key() -> None:
    inner = {"_target_": "deta.assign.IoUAssigner", "tau": 2}
    message = describe(error_of({"_target_": "deta.losses.Rule", "assigner": inner}))
    assert message == "part.assigner: tau must be in [0, 1], got 2"


def test_an_unknown_argument_is_told_with_a_way_to_find_the_known_ones() -> None:
    message = describe(error_of({"_target_": "deta.assign.IoUAssigner", "tao": 0.5}))
    assert "unexpected keyword argument 'tao'; see the keys with --cfg job" in message


def test_a_target_that_does_not_exist_is_named() -> None:
    assert "deta.assign.NoSuchAssigner" in describe(error_of({"_target_": "deta.assign.NoSuchAssigner"}))


def test_a_plain_error_is_told_as_it_is(tmp_path: Path) -> None:
    assert describe(ValueError("tau must be 1")) == "tau must be 1"
    assert describe(ValueError()) == "ValueError"


class _Broken(Dataset[int]):
    """Nothing of it can be read."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        try:
            raise FileNotFoundError("inner: reason")
        except FileNotFoundError as error:
            raise ImageError("image 5: cannot be used\nof 9") from error


def test_the_loss_of_a_rank_is_not_told_as_that_of_a_reading_process() -> None:
    reason = "rank 1: images/7.jpg is damaged"
    assert describe(LostRankError(reason)) == reason
    assert "a reading process was killed" in describe(ConnectionResetError(104, "Connection reset by peer"))


def test_an_error_of_a_reading_process_is_told_without_its_trace() -> None:
    with pytest.raises(ImageError) as caught:
        list(DataLoader(_Broken(), num_workers=1))
    assert "Traceback" in str(caught.value)
    assert describe(caught.value) == "image 5: cannot be used\nof 9"


def test_a_warning_of_our_own_is_told_without_its_place_in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    reports_errors(lambda _: None)(OmegaConf.create())
    own = warnings.formatwarning("too wide", UserWarning, terminal.__file__, 3, None)
    foreign = warnings.formatwarning("too wide", UserWarning, "/usr/lib/other.py", 3, "x = 1")
    assert own == "deta: too wide\n"
    assert foreign == "/usr/lib/other.py:3: UserWarning: too wide\n  x = 1\n"


def test_a_device_that_is_there_and_one_that_is_not_used_are_told_alone(caplog: pytest.LogCaptureFixture) -> None:
    reports_errors(lambda _: None)(OmegaConf.create())
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with caplog.at_level(logging.INFO, logger.name):
        for text in ("GPU available: False, used: False", "TPU available: False, using: 0 TPU cores"):
            logger.info(text)
        logger.info("GPU available: True (cuda), used: False")
    assert caplog.messages == ["GPU available: True (cuda), used: False"]


class _InterruptedError(ConnectionResetError):
    """While its message is made, PyTorch's handler of signals tells of the reading process that was killed."""

    def __str__(self) -> str:
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")


def test_a_killed_reading_process_is_told_even_in_the_middle_of_another_error() -> None:
    @reports_errors
    def read(_: DictConfig) -> None:
        raise _InterruptedError

    out = StringIO()
    with redirect_stderr(out), pytest.raises(SystemExit) as left:
        read(OmegaConf.create())
    assert left.value.code == 1
    assert "deta: a reading process was killed, most often because the memory was full" in out.getvalue()


def test_what_is_told_once_more_while_all_is_cleared_away_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", others.append)
    with redirect_stderr(StringIO()), pytest.raises(SystemExit):
        exit_with(ValueError("wrong"))
    for error in (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed."), RuntimeError("other")):
        sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert [part.exc_value.args for part in others] == [("other",)]  # type: ignore[attr-defined]


KILLED = """
import os, signal
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset
from deta.console.terminal import reports_errors

class Killed(Dataset):  # its reading process is gone at the third sample, as where the memory is full
    def __len__(self):
        return 8
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

reports_errors(lambda _: list(DataLoader(Killed(), num_workers=1)))(OmegaConf.create())
"""


def test_a_reading_process_that_was_killed_is_told_with_what_helps() -> None:
    # In a process of its own: PyTorch may tell of the kill a second time, in the test that comes next.
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "deta: a reading process was killed, most often because the memory was full" in done.stderr
    assert "use fewer data.num_workers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_choice_of_query_systems_beside_another_system_is_told_where_that_has_its_rule() -> None:
    error = ConfigCompositionException("Could not override 'rule'. No match in the defaults list.")
    assert describe(error).startswith("rule= is a choice of query systems")
    assert "assigner@criterion.rules.dense.assigner" in describe(error)


def test_two_choices_for_one_place_are_told_with_what_they_both_make() -> None:
    message = fail("train", "system=deta", "size=shapes", "further=[denoise,contrastive]")
    assert "further=[denoise,contrastive], both make criterion.rules.denoise: give one of them" in message
