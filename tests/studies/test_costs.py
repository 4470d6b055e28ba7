"""Time of runs in parts, and what they held."""

import json
from pathlib import Path
from typing import Any

import pytest

from deta.studies.costs import read_cost, time_in_parts

ROWS = [{"step": 0, "time": 101.0}, {"step": 9, "epoch": 0.0, "time": 110.0}, {"step": 19, "epoch": 1.0, "time": 530.0}]


def write_environment(folder: Path, name: str, **content: Any) -> None:  # noqa: ANN401
    (folder / name).write_text(json.dumps(content))


def test_gaps_between_parts_do_not_count() -> None:
    assert time_in_parts([100.0], [101.0, 110.0]) == 10.0
    assert time_in_parts([100.0, 500.0], [101.0, 110.0, 530.0]) == 10.0 + 30.0
    assert time_in_parts([100.0, 200.0, 500.0], [110.0, 530.0]) == 10.0 + 30.0  # the second part left nothing


def test_rows_before_every_known_start_count_from_the_first() -> None:
    assert time_in_parts([], [101.0, 110.0]) == 9.0
    assert time_in_parts([500.0], [101.0, 110.0, 530.0]) == 9.0 + 30.0


@pytest.mark.parametrize(
    ("trainer", "device", "count"),
    [
        ({"accelerator": "cpu", "devices": "auto"}, "cpu: x86_64, 2 threads", 1),
        ({"accelerator": "auto", "devices": "auto", "num_nodes": 2}, "H100", 4),
        ({"accelerator": "gpu", "devices": 1}, "H100", 1),
        ({"accelerator": "gpu", "devices": [1]}, "H100", 1),
        ({"accelerator": "gpu", "devices": -1}, "H100", 2),
    ],
)
def test_devices_are_those_that_the_trainer_held(
    tmp_path: Path, trainer: dict[str, Any], device: str, count: int
) -> None:
    devices = ["cpu: x86_64", "cuda:0: H100", "cuda:1: H100"]
    write_environment(tmp_path, "environment.json", started=100.0, devices=devices, num_threads=2)
    write_environment(tmp_path, "environment-1.json", started=500.0, devices=devices, num_threads=2)
    cost = read_cost(tmp_path, {"trainer": trainer}, ROWS)
    assert cost is not None
    assert (cost.device, cost.num_devices) == (device, count)
    assert (cost.seconds, cost.num_steps, cost.num_epochs) == (40.0, 20, 2)


def test_speed_is_the_median_of_what_was_logged_and_memory_the_most(tmp_path: Path) -> None:
    paces = [{"speed/images_per_s": pace, "speed/memory_gb": pace / 10} for pace in (9.0, 11.0, 10.0)]
    rows: list[dict[str, Any]] = [*ROWS, *paces, {"speed/images_per_s": None, "speed/val_images_per_s": 30.0}]
    write_environment(tmp_path, "environment.json", started=100.0, devices=["cpu: x86_64"], parameters=7)
    cost = read_cost(tmp_path, {"trainer": {"accelerator": "cpu"}}, rows)
    assert cost is not None
    assert (cost.images_per_s, cost.val_images_per_s, cost.memory_gb, cost.num_parameters) == (10.0, 30.0, 1.1, 7)
    write_environment(tmp_path, "environment.json", started=100.0, devices=["cpu: x86_64"])
    cost = read_cost(tmp_path, {"trainer": {"accelerator": "cpu"}}, ROWS)  # of an earlier version
    assert cost is not None
    assert (cost.images_per_s, cost.val_images_per_s, cost.memory_gb, cost.num_parameters) == (None,) * 4


def test_a_run_that_has_not_begun_cost_nothing_known(tmp_path: Path) -> None:
    assert read_cost(tmp_path, {"trainer": {}}, ROWS) is None
    write_environment(tmp_path, "environment.json", started=100.0, devices=["cpu: x86_64"])
    assert read_cost(tmp_path, {"trainer": {}}, []) is None


def test_a_start_beyond_all_numbers_is_a_message_with_the_file(tmp_path: Path) -> None:
    write_environment(tmp_path, "environment.json", started=10**400, devices=["cpu: x86_64"])
    with pytest.raises(ValueError, match=r"environment\.json is damaged: started is no time"):
        read_cost(tmp_path, {"trainer": {}}, ROWS)
