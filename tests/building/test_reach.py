"""Settings that reach further than a training."""

from pathlib import Path

import pytest

from deta.building.reach import far_settings


@pytest.mark.parametrize(
    "value",
    [
        "s3://bucket/x",
        " https://host/x",
        "hf-hub:a/b",
        "//host/share",
        "/dev/zero",
        " /dev/zero",
        "/data/../dev/zero",
        "../../../dev/zero",
        "~/" + 20 * "../" + "dev/zero",  # from any home
        Path("/proc/self/environ"),
        "/",
    ],
)
def test_addresses_and_devices_are_found_however_they_are_spelt(value: object) -> None:
    assert far_settings({"val": {"path": [value]}}, "data") == {
        f"data.val.path={value}": "names a remote address or a device"
    }


@pytest.mark.parametrize("value", ["", "coco/val2017", "~/coco", "/data/device/x", "a=b", None, True, 3])
def test_ordinary_values_are_not(value: object) -> None:
    assert far_settings({"path": value}, "data") == {}


def test_numbers_that_fill_a_machine_are_found_in_lists_too() -> None:
    config = {"num_workers": 2, "pad_to": [640, 10**6], "train_transform": [{"short_sides": 10**9}]}
    assert list(far_settings(config, "data")) == ["data.pad_to=1000000", "data.train_transform.short_sides=1000000000"]
