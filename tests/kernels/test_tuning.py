"""The fastest launch is measured once and kept."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from deta_kernels import configs, tuning
from deta_kernels.configs import Config

FASTEST = Config(block_elements=512, num_warps=2)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """One entry for every measurement, on a machine where nothing is known."""
    measurements: list[object] = []

    def measure(run: object) -> Config:
        measurements.append(run)
        return FASTEST

    monkeypatch.setattr(tuning, "_fastest", measure)
    monkeypatch.setattr(tuning, "_known", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a chip")
    monkeypatch.setenv("DETA_AUTOTUNE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return measurements


def choose(num_queries: int = 900, dtype: torch.dtype = torch.float32, kernel: str = "forward") -> Config:
    return configs.chosen_config(kernel, torch.zeros(1, dtype=dtype), num_queries, (8, 32), lambda _: None)


def test_candidates_are_timed_once_for_each_kind_of_call(measured: list[object]) -> None:
    assert [choose(), choose(300), choose(22_300), choose(dtype=torch.bfloat16), choose(kernel="backward")] == [
        FASTEST
    ] * 5
    assert len(measured) == 4  # 300 and 900 queries are one kind


def test_a_later_process_reads_what_was_found(measured: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    choose()
    choose(22_300)
    monkeypatch.setattr(tuning, "_known", {})
    assert choose() == choose(22_300) == FASTEST
    assert len(measured) == 2


def test_another_chip_measures_anew(measured: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    choose()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "another chip")
    choose()
    assert len(measured) == 2


def test_choices_of_processes_beside_each_other_are_all_kept(
    measured: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose()
    monkeypatch.setattr(tuning, "_known", {"none of the file": FASTEST})
    choose(22_300)
    monkeypatch.setattr(tuning, "_known", {})
    choose()
    choose(22_300)
    assert len(measured) == 2
    assert [path.name for path in tuning.launches_file().parent.iterdir()] == ["launches.json"]


@pytest.mark.parametrize("text", ["[1]", "{", '{"kind": 3}', '{"kind": ["a", 1]}'])
def test_a_file_that_holds_something_else_is_named(measured: list[object], text: str) -> None:
    tuning.launches_file().parent.mkdir()
    tuning.launches_file().write_text(text)
    with pytest.raises(ValueError, match=r"launches.json must map kinds of calls to \[elements, warps\] .*; delete it"):
        choose()
    assert measured == []
