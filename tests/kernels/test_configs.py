"""Launch configurations and limits of the Triton kernels."""

import pytest
import torch

pytest.importorskip("triton")

from deta_kernels import configs
from deta_kernels.configs import (
    CANDIDATES,
    Config,
    check_extent,
    largest_coarse_level,
    queries_bucket,
    run_best,
    sizes_on,
    table_config,
)

KERNELS = ("forward", "backward", "deterministic")


def test_types_of_two_bytes_have_a_launch_of_their_own_where_it_was_measured() -> None:
    assert table_config("forward", 90, 2, 22_300) != table_config("forward", 90, 4, 22_300)


def test_few_queries_have_a_launch_of_their_own_where_it_was_measured() -> None:
    assert table_config("forward", 90, 2, 900) != table_config("forward", 90, 2, 22_300)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_chip_that_is_not_listed_gets_one_launch_for_every_type_and_size(kernel: str) -> None:
    chips, sizes, counts = (70, 75, 80, 86, 89, 100, 120), (2, 4), (1, 5_000, 22_300)
    assert len({table_config(kernel, chip, size, count) for chip in chips for size in sizes for count in counts}) == 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_tuning_tries_what_the_table_has(kernel: str) -> None:
    chosen = {
        table_config(kernel, chip, size, count) for chip in (80, 90) for size in (2, 4) for count in (1, 5_000, 9_999)
    }
    assert chosen <= set(CANDIDATES)


def test_a_level_is_coarse_only_where_a_product_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert 273 < largest_coarse_level(cpu, 22_300, 32) < 1_050  # the last two levels of a pyramid of 800 x 1333
    assert largest_coarse_level(cpu, 900, 32) == 0
    assert largest_coarse_level(cpu, 22_300, 8) == largest_coarse_level(cpu, 22_300, 128) == 0
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert largest_coarse_level(gpu, 22_300, 32) == 0


@pytest.mark.parametrize("block_channels", [1, 8, 32, 128, 256])
def test_a_block_has_a_power_of_two_of_queries(block_channels: int) -> None:
    for config in CANDIDATES:
        queries = config.block_queries(block_channels)
        assert 1 <= queries <= 64
        assert queries & (queries - 1) == 0


def test_without_a_request_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETA_AUTOTUNE", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    runs: list[Config] = []
    chosen = configs.chosen_config("backward", torch.zeros(1), 900, (8, 32), runs.append)
    assert chosen == table_config("backward", 90, 4, 900)
    assert runs == []


def test_the_interpreter_runs_once() -> None:
    runs: list[Config] = []
    run_best("forward", torch.zeros(1), 900, (8, 32), runs.append)
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
