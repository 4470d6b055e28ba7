"""Every case of the manifests is compared by some test."""

from pathlib import Path

from tests.systems.conftest import read_systems

KINDS = {"model", "model_train", "model_gradients", "criterion", "assigner", "postprocess", "denoise"}
LATER = ("tsp_rcnn",)
"""Systems of the manifests that are no query systems."""


def test_no_case_is_of_an_unknown_kind(systems_dir: Path) -> None:
    kinds = {case.kind for case in read_systems(systems_dir) if case.config["system"] not in LATER}
    assert kinds <= KINDS
