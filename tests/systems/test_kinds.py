"""Every case of the manifests is compared by some test."""

from pathlib import Path

from tests.systems.conftest import read_systems

KINDS = {
    *("model", "model_train", "model_gradients", "criterion", "assigner", "postprocess", "denoise"),
    *("dense_model", "dense_criterion", "dense_postprocess"),
    *("assignment_rules", "atss_assigner", "fcos_assigner", "gaussian_targets", "max_iou_assigner", "simota_assigner"),
    *("tal_assigner", "two_stage_assigner", "two_stage_model", "two_stage_train"),
    *("rpn_select", "rpn_loss", "roi_loss", "roi_postprocess"),
}


def test_no_case_is_of_an_unknown_kind(systems_dir: Path) -> None:
    kinds = {case.kind for case in read_systems(systems_dir)}
    assert kinds <= KINDS
