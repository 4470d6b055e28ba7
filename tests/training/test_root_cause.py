"""Which of the errors of several ranks is the reason."""

import json
from pathlib import Path

import pytest
import torch.distributed as dist

from deta.runs.state import FAILED, failure, mark_failed, mark_running
from deta.training import ranks
from deta.training.ranks import ElsewhereError, LostRankError, mark_rank_failed, root_cause

GLOO = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]")


@pytest.mark.parametrize("error", [GLOO, dist.DistBackendError("NCCL communicator was aborted")])
def test_a_broken_connection_is_told_as_the_reason_of_the_other_rank(tmp_path: Path, error: Exception) -> None:
    mark_running(tmp_path)
    mark_rank_failed(tmp_path, 1, "images/7.jpg is damaged")
    cause = root_cause(error, tmp_path)
    assert isinstance(cause, LostRankError)
    assert str(cause) == "rank 1: images/7.jpg is damaged"


def test_who_knows_only_that_another_rank_failed_tells_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "SECONDS_UNTIL_A_REASON", 0.0)
    error = ElsewhereError("the loss of another rank is not finite")
    assert root_cause(error, tmp_path) is error
    mark_running(tmp_path)
    mark_rank_failed(tmp_path, 1, "the loss is not finite: layer0/giou")
    assert str(root_cause(error, tmp_path)) == "rank 1: the loss is not finite: layer0/giou"


def test_a_rank_that_was_killed_leaves_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "SECONDS_UNTIL_A_REASON", 0.0)
    assert "another rank was killed or did not answer in time" in str(root_cause(GLOO, tmp_path))


@pytest.mark.parametrize("error", [ValueError("images/7.jpg is damaged"), RuntimeError("shapes do not match")])
def test_an_error_of_its_own_is_the_reason(tmp_path: Path, error: Exception) -> None:
    mark_failed(tmp_path, "another")
    assert root_cause(error, tmp_path) is error


def test_the_first_reason_stays(tmp_path: Path) -> None:
    mark_running(tmp_path)
    mark_rank_failed(tmp_path, 2, "first")
    mark_rank_failed(tmp_path, 1, "second")
    assert failure(tmp_path) == "rank 2: first"


def test_a_rank_leaves_no_reason_in_a_run_that_nobody_claims(tmp_path: Path) -> None:
    mark_rank_failed(tmp_path, 1, "no data")
    assert failure(tmp_path) is None
    (tmp_path / FAILED).write_text(json.dumps({"message": "theirs"}))
    mark_rank_failed(tmp_path, 1, "no data")
    assert failure(tmp_path) == "theirs"
