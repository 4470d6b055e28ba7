"""What a stored file names has its counterpart: weights with their shapes, and parameters of the optimizer in order."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from deta.runs.former import present_weight
from scripts.reference.names import DETECTORS, keys_of, names_of
from tests.before.stored import DATA, RUNS, unpack


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / "names.json").read_text())
    return content


def own_name(name: str) -> str:
    """What a stored weight is called in the code as it is."""
    return present_weight(name)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_stored_weight_has_its_place_and_shape(name: str, stored: dict[str, Any]) -> None:
    assert names_of(name)["state"] == {own_name(key): shape for key, shape in stored[name]["state"].items()}


@pytest.mark.parametrize("name", DETECTORS)
def test_parameters_have_their_groups_rates_and_decay(name: str, stored: dict[str, Any]) -> None:
    found, expected = parameters(names_of(name)), parameters(stored[name])
    assert found == {own_name(key): settings for key, settings in expected.items()}


@pytest.mark.parametrize("name", RUNS)
def test_stored_checkpoints_hold_the_keys_on_record(name: str, stored: dict[str, Any], tmp_path: Path) -> None:
    assert keys_of(unpack(name, tmp_path) / "checkpoints" / "last.ckpt") == stored["checkpoints"][name]


def test_states_of_a_stored_optimizer_lie_in_the_order_on_record(stored: dict[str, Any], tmp_path: Path) -> None:
    path = unpack("one_to_one", tmp_path) / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    optimizer, weights = content["optimizer_states"][0], content["state_dict"]
    names = [name for group in optimizer["param_groups"] for name in group["parameter_names"]]
    for index, name in enumerate(names):
        assert optimizer["state"][index]["exp_avg"].shape == weights[f"detector.{name}"].shape
    common = [name for name in parameters(stored["one_to_one"]) if name in names]
    assert common == [name for name in names if name in common]


def parameters(names: dict[str, Any]) -> dict[str, tuple[str, float, float]]:
    """Group, rate and weight decay of every parameter, in the order of the optimizer."""
    keys = list(names["state"])
    return {
        keys[place]: (group["name"], group["lr"], group["weight_decay"])
        for group in names["groups"]
        for place in group["places"]
    }
