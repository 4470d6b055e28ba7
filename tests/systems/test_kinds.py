"""Every case of the manifests is compared by some test."""

from pathlib import Path

from tests.systems.conftest import read_systems

KINDS = {
    *("model", "model_train", "model_gradients", "criterion", "assigner", "postprocess", "denoise"),
    *("dense_model", "dense_criterion", "dense_postprocess"),
}
LATER = ("tsp_rcnn", "faster_rcnn", "faster_rcnn_v2", "tood", "yolox", "centernet", "common")
"""Systems that are not there yet."""


def test_no_case_is_of_an_unknown_kind(systems_dir: Path) -> None:
    kinds = {case.kind for case in read_systems(systems_dir) if case.config["system"] not in LATER}
    assert kinds <= KINDS
