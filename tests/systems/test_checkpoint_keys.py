"""Names and shapes of the published models, and ours."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deta.models.releases import RELEASES, Release, from_release, published_layout, to_release
from deta.models.releases.layout import OURS, PUBLISHED
from tests.reference_cases import ReferenceCase
from tests.systems.published import (
    DENSE,
    EFFICIENT_DETR,
    TWINS,
    WORDS,
    numbered,
    published_detector,
    read,
    stems,
    ties,
)

ALL = (*WORDS, *DENSE)
OF_DENSE_SYSTEMS = re.compile(r"(atss|centernet_r\d+|faster_rcnn|fcos|gfl|retinanet|tood|tsp_rcnn|yolox)_")
OF_QUERY_SYSTEMS = re.compile(r"(dab_|deformable_|detr_|dino_|dn_|efficient_|fqdet_|group_detr_|h_?detr_)")
KINDS = ("state_dict_keys", "param_groups")
DECODER = "transformer.decoder.layers.3."
OUR_DECODER = "body.decoder.layers.3."
FQDET = "heads.gvd."
ENCODER = "core.deform_encoder.encoder.layers.3."
POINTS = "body.source.reference_points."


@pytest.mark.parametrize(("system", "words"), [(OF_QUERY_SYSTEMS, WORDS), (OF_DENSE_SYSTEMS, DENSE)])
def test_every_file_of_a_system_is_compared(
    system: re.Pattern[str], words: Mapping[str, object], systems_dir: Path
) -> None:
    names = [path.stem for kind in KINDS for path in systems_dir.glob(f"*_{kind}.json")]
    found = {re.sub("|".join(f"_{kind}$" for kind in KINDS), "", name) for name in names}
    assert {stem for stem in found if system.match(stem)} == set(words)


@cache
def layout_of_file(folder: Path, stem: str) -> Release:
    """The only layout that a file of this model has."""
    state = numbered(folder, stem)
    (layout,) = (release for release in RELEASES if not release.misfits(state, PUBLISHED))
    return layout


def sizes(layout: Release, main_rows: int = 300) -> dict[str, Tensor]:
    """The part of a detector's state dict that its layout asks for: 300 queries detect in every publication."""
    return {name: torch.empty(main_rows, 1) for joined in layout.joined for name in joined}


@pytest.mark.parametrize("stem", stems("state_dict_keys", among=ALL))
def test_every_parameter_has_one_name_of_ours_and_comes_back_under_all_that_it_had(
    stem: str, systems_dir: Path
) -> None:
    state = numbered(systems_dir, stem)
    layout = layout_of_file(systems_dir, stem)
    own = layout.from_release(state, sizes(layout))
    assert len(own) == len(state) - len(ties(systems_dir, stem)) - len(layout.constants) + len(layout.joined)
    numbers = {name: value.flatten()[0].item() for name, value in own.items()}
    assert len(set(numbers.values())) == len(own) - len(layout.joined)
    back = layout.to_release(own)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())
    assert layout.name in [release.name for release in RELEASES if not release.misfits(own, OURS)]


@pytest.mark.gate
@pytest.mark.parametrize("stem", stems("state_dict_keys", among=ALL))
def test_the_detector_of_the_system_has_the_published_names_and_shapes(stem: str, systems_dir: Path) -> None:
    detector = published_detector(stem)
    keys = read(systems_dir, stem, "state_dict_keys")
    written = to_release(detector, TWINS.get(stem))
    assert {name: list(tensor.shape) for name, tensor in written.items()} == keys
    found = from_release(numbered(systems_dir, stem), detector)
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in detector.state_dict().items()
    }


def older_names(folder: Path, stem: str) -> dict[str, str]:
    """Names of today's published state dict, and those that older files have in their place."""
    names: dict[str, str] = read(folder, stem, "param_groups").get("older_names", {})
    return names


@pytest.mark.parametrize("stem", stems("param_groups", where=older_names, among=DENSE))
def test_names_of_an_older_torchvision_are_those_of_the_same_parameters(stem: str, systems_dir: Path) -> None:
    state, older = numbered(systems_dir, stem), older_names(systems_dir, stem)
    detector = published_detector(stem)
    renamed = {older.get(name, name): value for name, value in state.items()}
    expected, found = from_release(state, detector), from_release(renamed, detector)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    layout = published_layout(renamed)
    assert layout is not None
    assert to_release(detector, layout.name).keys() == renamed.keys()


def test_a_publication_that_has_no_such_detector_is_not_written() -> None:
    detector = published_detector("fcos_r50_fpn_torchvision")
    with pytest.raises(
        ValueError, match="layout must be one of FCOS of an older torchvision, FCOS of torchvision, got"
    ):
        to_release(detector, "DINO")


@pytest.mark.parametrize(
    ("stem", "published", "ours"),
    [
        ("retinanet_r50_fpn_torchvision", "backbone.fpn.inner_blocks.1.0.bias", "neck.laterals.1.bias"),
        ("retinanet_r50_fpn_torchvision", "backbone.fpn.extra_blocks.p7.bias", "neck.extras.1.bias"),
        ("retinanet_r50_fpn_torchvision", "head.regression_head.conv.2.0.bias", "body.head.box_tower.2.0.bias"),
        ("fcos_r50_fpn_torchvision", "head.classification_head.conv.6.bias", "body.head.class_tower.2.0.bias"),
        ("fcos_r50_fpn_torchvision", "head.classification_head.conv.7.bias", "body.head.class_tower.2.1.bias"),
        ("retinanet_r50_fpn_mmdet", "neck.fpn_convs.4.conv.bias", "neck.extras.1.bias"),
        ("fcos_r50_fpn_mmdet", "bbox_head.reg_convs.3.gn.bias", "body.head.box_tower.3.1.bias"),
        ("tood_r50_fpn_mmdet", "bbox_head.reg_decomp.reduction_conv.gn.bias", "body.head.box_layers.norm.bias"),
        ("centernet_r18_mmdet", "bbox_head.wh_head.2.bias", "body.head.size.2.bias"),
        ("centernet_r18_mmdet", "neck.deconv_layers.3.bn.bias", "neck.layers.3.1.bias"),
        ("yolox_s", "backbone.backbone.dark3.1.m.2.conv1.bn.bias", "backbone.body.stages.1.1.blocks.2.0.1.bias"),
        ("yolox_s", "backbone.backbone.dark5.2.conv2.bn.bias", "backbone.body.stages.3.2.past.1.bias"),
        ("yolox_s", "backbone.C3_n3.conv1.bn.bias", "neck.middle.through.1.bias"),
        ("yolox_s", "head.obj_preds.2.bias", "body.head.quality.2.bias"),
        ("yolox_s_mmdet", "backbone.stage4.2.short_conv.bn.bias", "backbone.body.stages.3.2.past.1.bias"),
        ("yolox_s_mmdet", "neck.bottom_up_blocks.0.main_conv.bn.bias", "neck.middle.through.1.bias"),
        ("yolox_s_mmdet", "bbox_head.multi_level_conv_obj.2.bias", "body.head.quality.2.bias"),
        ("detr_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}self_attention_norm.bias"),
        ("detr_r50", f"{DECODER}norm2.bias", f"{OUR_DECODER}cross_attention_norm.bias"),
        ("detr_r50", f"{DECODER}multihead_attn.in_proj_bias", f"{OUR_DECODER}cross_attention.in_proj_bias"),
        ("detr_r50", "input_proj.weight", "neck.projections.0.0.weight"),
        ("dab_detr_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}self_attention_norm.bias"),
        ("dab_detr_r50", f"{DECODER}norm2.bias", f"{OUR_DECODER}cross_attention_norm.bias"),
        ("dab_detr_r50", f"{DECODER}activation.weight", f"{OUR_DECODER}ffn.activation.weight"),
        ("dab_detr_r50", "transformer.decoder.bbox_embed.layers.1.bias", "body.heads.0.box_deltas.second.bias"),
        ("group_detr_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}self_attention_norm.bias"),
        ("group_detr_r50", "transformer.decoder.ref_point_head.layers.0.bias", f"{POINTS}layers.0.bias"),
        ("dn_detr_r50", "label_enc.weight", "body.source.labels.weight"),
        ("deformable_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}cross_attention_norm.bias"),
        ("deformable_r50", f"{DECODER}norm2.bias", f"{OUR_DECODER}self_attention_norm.bias"),
        ("deformable_r50", "class_embed.4.bias", "body.heads.0.class_logits.bias"),
        ("deformable_refine_r50", "class_embed.4.bias", "body.heads.4.class_logits.bias"),
        ("deformable_two_stage_r50", "class_embed.6.bias", "body.source.head.class_logits.bias"),
        ("hdetr_r50", "bbox_embed.6.layers.2.bias", "body.source.head.box_deltas.last.bias"),
        ("dab_deformable_detr_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}cross_attention_norm.bias"),
        ("dn_deformable_detr_r50", "tgt_embed.weight", "body.source.content.weight"),
        ("dn_deformable_detr_encoder_only_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}self_attention_norm.bias"),
        ("fqdet_r50_fpn", "core.body.fpn_convs.3.conv.bias", "neck.extras.0.bias"),
        ("fqdet_r50_fpn", f"{FQDET}dec_layers.3.0.attn.norm.bias", f"{OUR_DECODER}cross_attention_norm.bias"),
        ("fqdet_r50_fpn", f"{FQDET}dec_layers.3.1.norm.bias", f"{OUR_DECODER}self_attention_norm.bias"),
        ("fqdet_r50_fpn", f"{FQDET}heads.0.logits.1.lin.bias", "body.heads.0.class_logits.1.layer.bias"),
        ("fqdet_r50_defenc", "core.in_proj.extra_convs.0.gn.bias", "neck.projections.3.1.bias"),
        ("fqdet_r50_defenc", f"{ENCODER}norms.0.bias", "body.encoder.layers.3.attention_norm.bias"),
        ("dino_4scale_r50", f"{DECODER}norm1.bias", f"{OUR_DECODER}cross_attention_norm.bias"),
        ("dino_4scale_r50", "transformer.enc_out_class_embed.bias", "body.source.head.class_logits.bias"),
        ("dino_4scale_r50", "transformer.decoder.class_embed.5.bias", "body.heads.0.class_logits.bias"),
    ],
)  # fmt: skip
def test_names_whose_shapes_say_nothing_keep_their_meaning(
    stem: str, published: str, ours: str, systems_dir: Path
) -> None:
    state = numbered(systems_dir, stem)
    layout = layout_of_file(systems_dir, stem)
    assert torch.equal(layout.from_release(state, sizes(layout))[ours], state[published])


@pytest.mark.parametrize(("stem", "rows"), [("group_detr_r50", 300), ("hdetr_r50", 300)])
def test_the_first_rows_are_those_of_the_queries_that_detect(stem: str, rows: int, systems_dir: Path) -> None:
    state = dict(numbered(systems_dir, stem))
    layout = layout_of_file(systems_dir, stem)
    total = len(state["query_embed.weight"])
    state["query_embed.weight"] = torch.arange(total).float()[:, None].expand_as(state["query_embed.weight"])
    own = layout.from_release(state, sizes(layout))
    ((main, further),) = layout.joined
    assert own[main][:, 0].tolist() == list(range(rows))
    assert own[further][:, 0].tolist() == list(range(rows, total))


@pytest.mark.parametrize("stem", stems("state_dict_keys", among=ALL))
def test_what_is_unknown_is_named(stem: str, systems_dir: Path) -> None:
    state = numbered(systems_dir, stem)
    layout = layout_of_file(systems_dir, stem)
    with pytest.raises(ValueError, match=rf"'mask_head\.bias' has no counterpart in the layout of {layout.name}"):
        layout.from_release({**state, "mask_head.bias": torch.zeros(1)}, sizes(layout))


@pytest.mark.parametrize("stem", stems("state_dict_keys", where=ties))
def test_further_names_that_are_missing_or_of_other_values_are_named(stem: str, systems_dir: Path) -> None:
    state = numbered(systems_dir, stem)
    layout = layout_of_file(systems_dir, stem)
    copy = sorted(ties(systems_dir, stem))[-1]
    with pytest.raises(ValueError, match=rf"{copy} must be equal|{copy} and .* must be equal"):
        layout.from_release({**state, copy: state[copy] + 1}, sizes(layout))
    with pytest.raises(ValueError, match=rf"missing: {copy}, in the layout of {layout.name} further names of"):
        layout.from_release({name: value for name, value in state.items() if name != copy}, sizes(layout))


@pytest.mark.reference(
    "model",
    systems=("dino", "deformable", "group_detr", "hdetr", "dab_detr", "dab_deformable_detr", "detr", "dn_detr"),
)
def test_the_weights_of_the_reference_cases_have_a_layout(case: ReferenceCase) -> None:
    layout = published_layout(case.state)
    assert layout is not None
    back = layout.to_release(layout.from_release(case.state, sizes(layout, main_rows=1)))
    assert back.keys() == case.state.keys()
    assert all(torch.equal(back[name], value) for name, value in case.state.items())


def test_weights_for_pixels_of_another_range_are_refused(systems_dir: Path) -> None:
    state = {**numbered(systems_dir, "fqdet_r50_fpn"), "backbone.in_norm_mean": torch.tensor([103.5, 116.3, 123.7])}
    with pytest.raises(ValueError, match=r"backbone\.in_norm_mean must be \[0\.48.*got \[103\.5"):
        layout_of_file(systems_dir, "fqdet_r50_fpn").from_release(state, {})


@pytest.mark.reference("model", systems=("efficient_detr",))
def test_the_head_of_efficient_detr_is_one(case: ReferenceCase) -> None:
    own = EFFICIENT_DETR.from_release(case.state, {})
    assert "body.source.head.class_logits.bias" in own
    assert not any(name.startswith("body.heads") for name in own)
    assert EFFICIENT_DETR.to_release(own).keys() == case.state.keys()


def test_a_head_of_a_layer_that_is_not_there_is_named(systems_dir: Path) -> None:
    state = numbered(systems_dir, "deformable_r50")
    layout = layout_of_file(systems_dir, "deformable_r50")
    with pytest.raises(ValueError, match=r"'class_embed\.9\.bias' has no counterpart"):
        layout.from_release({**state, "class_embed.9.bias": state["class_embed.0.bias"]}, {})
