"""A checkpoint that a program read, changed and wrote again is told from what training wrote."""

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.training.checkpoint import AtomicCheckpointIO, find_resumable, read_training
from deta.training.content_digest import content_digest
from tests.training.test_checkpoint_damage import save, spoilt

RESUME = {
    "random": [{"python": (3, (1, 2), None), "torch": torch.arange(3, dtype=torch.uint8)}],
    "metrics_end": 9,
    "row": None,
}


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda whole: whole.pop(name)


def change(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda whole: whole.update({name: value})


CHANGES: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "a number of a weight": lambda whole: whole["state_dict"]["detector.first"][0].mul_(1.0001),
    "a weight less": lambda whole: whole["state_dict"].pop("detector.first"),
    "averaged weights less": without("current_model_state"),
    "a part less": without("averaging_state"),
    "a part more": change("hyper_parameters", {"lr": 0.1}),
    "another step": change("global_step", 8),
    "another version": change("pytorch-lightning_version", "x.y"),
    "no callbacks": change("callbacks", {}),
    "loops with other places": lambda whole: whole["loops"]["fit_loop"].update(state_dict={}),
    "an optimizer that remembers nothing": lambda whole: whole["optimizer_states"][0]["state"].clear(),
    "an optimizer that forgot one thing": lambda whole: whole["optimizer_states"][0]["state"][1].pop("exp_avg"),
    "other random numbers": lambda whole: whole["deta_resume"]["random"][0]["torch"].add_(1),
    "a list for a pair": lambda whole: whole["deta_resume"]["random"][0].update(python=[3, (1, 2), None]),
    "text for a number": lambda whole: whole["deta_resume"].update(metrics_end="9"),
    "another configuration": lambda whole: whole["deta"]["config"]["model"].update(num_classes=33),
    "two weights exchanged": lambda whole: whole["state_dict"].update(
        {"detector.first": whole["state_dict"]["detector.second"]}
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_was_changed_and_written_again_is_none_to_go_on_from(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    previous, last = folder / "previous.ckpt", folder / "last.ckpt"
    whole = {
        **copy.deepcopy(spoilt()),
        "callbacks": {"EarlyStopping": {"wait_count": 1}},
        "deta_resume": RESUME,
        "current_model_state": {"detector.first": torch.zeros(4, 4, dtype=torch.bfloat16)},
        "averaging_state": {"n_averaged": torch.tensor(3)},
    }
    for path in (previous, last):
        AtomicCheckpointIO().save_checkpoint(whole, path)
    loaded = torch.load(last, weights_only=True)
    torch.save(loaded, last)
    assert find_resumable(tmp_path) == last  # by whom it was written does not matter
    CHANGES[name](loaded)
    torch.save(loaded, last)
    with caplog.at_level(logging.WARNING):
        assert find_resumable(tmp_path) == previous
    assert f"{last} was changed since training wrote it" in caplog.text
    assert f"continuing from {previous}" in caplog.text


def test_a_digest_is_of_content_wherever_it_lies() -> None:
    """As a file is read: memory is in another order, an ordered dictionary may be a plain one."""
    matrix = torch.arange(6.0).reshape(2, 3)
    kinds = [None, True, 1, 1.0, "1", b"1", 1j, torch.float16, torch.device("cpu"), (1,), [1], {1}, {"a": 1}, matrix]
    assert len({content_digest(kind) for kind in kinds}) == len(kinds)
    assert content_digest(matrix.T) == content_digest(matrix.T.contiguous()) != content_digest(matrix.reshape(3, 2))
    assert content_digest(OrderedDict(a=1)) == content_digest({"a": 1})
    assert content_digest({1, "2", 3.0}) == content_digest({3.0, 1, "2"})
    assert content_digest(torch.tensor(-0.0)) != content_digest(torch.tensor(0.0))


def test_a_digest_that_no_training_wrote_is_none(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    for more in ({"deta_digest": 3}, {"deta_digest": "x", "callbacks": {"a": endless}}):
        with pytest.raises(ValueError, match=r"a.ckpt was changed since training wrote it"):
            read_training(save(tmp_path / "a.ckpt", {**spoilt(), **more}))
