"""Checkpoints of the releases. Their names and shapes are checked in tests/golden."""

import argparse
from pathlib import Path

import pytest
import torch

from deta.models.releases import Release, from_release, read_release, to_release
from deta.models.releases.dino import DINO_SWIN
from tests.models.tiny import tiny_detector


@pytest.mark.parametrize(("learned", "refine"), [(False, "iterative"), (True, "iterative"), (True, "none")], ids=str)
def test_published_file_fills_every_weight(tmp_path: Path, learned: bool, refine: str) -> None:
    source = tiny_detector(learned=learned, refine=refine, seed=0)
    target = tiny_detector(learned=learned, refine=refine, seed=1)
    content = {"model": to_release(source), "args": argparse.Namespace(lr=1e-4), "epoch": 12}
    torch.save(content, tmp_path / "release.pth")
    found, expected = read_release(target, tmp_path / "release.pth"), source.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_heads_are_repeated_where_the_release_repeats_them() -> None:
    names = to_release(tiny_detector())
    assert names["class_embed.2.weight"] is names["transformer.decoder.class_embed.2.weight"]
    assert names["class_embed.2.weight"].shape[0] == 1  # the last head is the first stage's
    shared = to_release(tiny_detector(learned=True, refine="none"))
    assert torch.equal(shared["bbox_embed.0.layers.0.weight"], shared["bbox_embed.1.layers.0.weight"])
    assert not any(name.startswith("transformer.decoder.bbox_embed") for name in shared)


def test_unknown_name_is_refused() -> None:
    state = to_release(tiny_detector())
    with pytest.raises(ValueError, match=r"'transformer\.extra\.weight' has no counterpart"):
        from_release({**state, "transformer.extra.weight": torch.zeros(1)}, tiny_detector())


def test_heads_that_should_be_one_and_differ_are_refused() -> None:
    state = to_release(tiny_detector())
    name = "transformer.decoder.class_embed.0.bias"
    with pytest.raises(ValueError, match=r"transformer\.decoder\.class_embed\.0\.bias"):
        from_release({**state, name: state[name] + 1}, tiny_detector())


def test_missing_weight_is_refused_by_our_name(tmp_path: Path) -> None:
    state = to_release(tiny_detector())
    del state["transformer.enc_output.weight"]
    torch.save(state, tmp_path / "release.pth")
    with pytest.raises(ValueError, match=r"release\.pth.*1 missing: body\.source\.memory_projection\.weight"):
        read_release(tiny_detector(), tmp_path / "release.pth")


def test_file_with_other_categories_is_refused(tmp_path: Path) -> None:
    torch.save(to_release(tiny_detector(num_classes=5)), tmp_path / "release.pth")
    with pytest.raises(ValueError, match=r"wrong shape: body\.heads"):
        read_release(tiny_detector(num_classes=3), tmp_path / "release.pth")


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}, "hook": eval}, tmp_path / "release.pth")
    with pytest.raises(ValueError, match=r"release\.pth cannot be read .*it names builtins\.eval"):
        read_release(tiny_detector(), tmp_path / "release.pth")


def test_a_detector_that_nobody_published_is_told_what_differs_from_the_nearest() -> None:
    detector = tiny_detector()
    detector.body.register_parameter("temperature", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match=r"from the nearest, DETA, differ: body\.temperature$"):
        to_release(detector)


def test_a_first_stage_without_refinement_was_not_published() -> None:
    with pytest.raises(ValueError, match=r"body\.heads \(2 published, got 1\)"):
        to_release(tiny_detector(refine="none"))


def test_weights_of_another_detector_are_told_by_both_names() -> None:
    state = to_release(tiny_detector(learned=True))
    with pytest.raises(ValueError, match="they are of Deformable DETR with box refinement, the detector is DETA"):
        from_release(state, tiny_detector())


def test_a_copy_that_is_missing_is_named() -> None:
    state = to_release(tiny_detector())
    del state["transformer.decoder.class_embed.0.bias"]
    with pytest.raises(ValueError, match=r"missing: transformer\.decoder\.class_embed\.0\.bias"):
        from_release(state, tiny_detector())


def test_further_queries_are_published_below_those_that_detect() -> None:
    layout = Release("rows", (("query.", "main."),), joined=(("main.weight", "further.weight"),))
    own = {"main.weight": torch.zeros(2, 3), "further.weight": torch.ones(4, 3)}
    state = layout.to_release(own)
    assert state["query.weight"][:, 0].tolist() == [0, 0, 1, 1, 1, 1]
    back = layout.from_release(state, own)
    assert back.keys() == own.keys()
    assert all(torch.equal(back[name], value) for name, value in own.items())
    alone = {"main.weight": torch.zeros(2, 3)}
    assert layout.from_release(layout.to_release(alone), alone).keys() == alone.keys()


def test_the_swin_backbone_of_dino_lies_one_level_higher() -> None:
    name = "backbone.0.layers.1.blocks.0.attn.qkv.bias"
    own = DINO_SWIN.from_release({name: torch.zeros(1)}, {})
    assert own.keys() == {"backbone.body.layers.1.blocks.0.attn.qkv.bias"}
    assert DINO_SWIN.to_release(own).keys() == {name}
