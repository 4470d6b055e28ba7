"""Launch configurations and limits of the Triton kernels."""

import pytest
import torch

pytest.importorskip("triton")

from deta_kernels import configs
from deta_kernels.configs import CANDIDATES, Config, check_extent, queries_bucket, run_best, sizes_on, table_config


def test_types_of_two_bytes_have_a_launch_of_their_own_where_it_was_measured() -> None:
    assert table_config("forward", 90, 2) != table_config("forward", 90, 4)


@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_a_chip_that_is_not_listed_gets_one_launch_for_every_type(kernel: str) -> None:
    launches = {table_config(kernel, chip, size) for chip in (70, 75, 80, 86, 89, 100, 120) for size in (2, 4)}
    assert len(launches) == 1


@pytest.mark.parametrize("block_channels", [1, 8, 32, 128, 256])
def test_a_block_has_a_power_of_two_of_queries(block_channels: int) -> None:
    for config in CANDIDATES:
        queries = config.block_queries(block_channels)
        assert 1 <= queries <= 64
        assert queries & (queries - 1) == 0


def test_candidates_are_timed_once_for_each_kind_of_call_and_the_fastest_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds: list[str] = []
    fastest = Config(block_elements=512, num_warps=2)

    def measure(run: object) -> Config:
        rounds.append("measured")
        return fastest

    monkeypatch.setattr(configs, "_fastest", measure)
    monkeypatch.setattr(configs, "_tuned", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a chip")
    monkeypatch.setenv("DETA_AUTOTUNE", "1")
    value = torch.zeros(1)
    for key in ("encoder", "encoder", "decoder"):
        assert configs.chosen_config("forward", value, key, lambda _: None) == fastest
    assert len(rounds) == 2


def test_without_a_request_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETA_AUTOTUNE", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    runs: list[Config] = []
    assert configs.chosen_config("backward", torch.zeros(1), "key", runs.append) == table_config("backward", 90, 4)
    assert runs == []


def test_the_interpreter_runs_once() -> None:
    runs: list[Config] = []
    run_best("forward", torch.zeros(1), "key", runs.append)
    assert len(runs) == 1


def test_queries_fall_into_three_classes() -> None:
    assert [queries_bucket(count) for count in (1, 1024, 1025, 8192, 8193)] == [0, 0, 1, 1, 2]


def test_sizes_of_levels_are_kept_between_calls() -> None:
    sizes = sizes_on(torch.device("cpu"), (7, 9, 1, 1))
    assert sizes.dtype == torch.int32
    assert sizes.tolist() == [7, 9, 1, 1]
    assert sizes_on(torch.device("cpu"), (7, 9, 1, 1)) is sizes


def test_what_the_kernels_cannot_address_is_refused() -> None:
    check_extent((2048, 4096), num_heads=8, channels=31)
    with pytest.raises(ValueError, match="choose backend 'reference'"):
        check_extent((2048, 4096), num_heads=8, channels=32)
    with pytest.raises(ValueError, match="D must be at most 256"):
        check_extent((2, 2), num_heads=1, channels=257)
