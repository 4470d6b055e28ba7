"""Reading state dicts of files that other programs have written."""

import argparse
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deta.models.weights import read_state_dict

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}
AVERAGE = {name: value + 1 for name, value in STATE.items()}


def written(path: Path, content: Any) -> Path:  # noqa: ANN401 - whatever a program stores
    torch.save(content, path)
    return path


def is_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "content",
    [STATE, {"model": STATE, "epoch": 11}, {"state_dict": STATE}, {"model": {"state_dict": STATE}}],
    ids=["bare", "model", "state_dict", "both"],
)
def test_a_state_dict_is_found_under_the_keys_of_other_programs(content: dict[str, Any], tmp_path: Path) -> None:
    assert is_same(read_state_dict(written(tmp_path / "a.pth", content)), STATE)


def test_a_file_of_safetensors_is_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert is_same(read_state_dict(tmp_path / "a.safetensors"), STATE)


def test_arguments_and_optimizer_of_the_training_are_passed_over_without_a_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    content = {
        "model": STATE,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 40).state_dict(),
        "epoch": 49,
        "args": argparse.Namespace(lr=1e-4, output_dir=Path("logs"), dn_labelbook_size=91),
    }
    assert is_same(read_state_dict(written(tmp_path / "a.pth", content)), STATE)
    assert "argparse.Namespace" in caplog.text


@pytest.mark.parametrize("key", ["ema_model", "model_ema"])
def test_the_average_is_read_on_request_alone(key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "a.pth", {"model": STATE, key: AVERAGE})
    assert is_same(read_state_dict(path), STATE)
    assert f"the averaged weights that it holds beside, {key}, are not read" in caplog.text
    assert is_same(read_state_dict(path, averaged=True), AVERAGE)


def test_an_average_that_is_alone_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert is_same(read_state_dict(written(tmp_path / "a.pth", {"ema_model": AVERAGE})), AVERAGE)
    assert "the averaged weights are read, ema_model" in caplog.text


def test_an_average_that_is_asked_for_and_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pth holds no averaged weights \(ema_model or model_ema\)"):
        read_state_dict(written(tmp_path / "a.pth", {"model": STATE}), averaged=True)


def test_the_prefix_of_parallel_training_is_removed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    parallel = {f"module.{name}": value for name, value in STATE.items()}
    assert is_same(read_state_dict(written(tmp_path / "a.pth", {"model": parallel})), STATE)
    assert "the prefix module. is removed from all names" in caplog.text


def test_a_prefix_that_one_name_lacks_stays(tmp_path: Path) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert is_same(read_state_dict(written(tmp_path / "a.pth", mixed)), mixed)


def test_counters_of_operations_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    counters = {"a.total_ops": torch.zeros(1), "a.total_params": torch.zeros(1), "total_params": torch.zeros(1)}
    assert is_same(read_state_dict(written(tmp_path / "a.pth", {"model": {**STATE, **counters}})), STATE)
    assert "counters of operations are left out: 3" in caplog.text
