"""Choices that do not go together are refused before data is read, by one message that names both keys."""

import pytest
from hydra.errors import InstantiationException

from deta.building.build import make_recipe
from tests.building.steps import ASSIGNERS, composed, often, train_a_step_of
from tests.commands.running import SMALL_MODEL
from tests.systems.composed import DENSE, words_of


@pytest.mark.parametrize("rule", ["atss", "fcos", "simota"])
def test_a_rule_of_levels_or_strides_refuses_learned_queries(rule: str) -> None:
    with pytest.raises(ValueError, match=r"criterion.rules.layers \(\w+\) needs .* learned queries of model.body"):
        make_recipe(composed("system=deformable_detr", f"rule@layers={rule}", *SMALL_MODEL))


def test_heat_maps_assign_a_first_stage_of_one_level_alone() -> None:
    with pytest.raises(
        ValueError,
        match=r"criterion.rules.first does not suit model.body .*: GaussianAssigner needs candidates that are one grid",
    ):
        make_recipe(composed("system=deta", "rule@first=gaussian", *SMALL_MODEL))


@pytest.mark.parametrize(
    ("system", "rule"),
    [often(system, "gaussian", "fcos") for system in DENSE if system != "centernet"]
    + [often("centernet", rule, "centernet" if rule in ("iou", "hungarian") else "") for rule in ASSIGNERS],
)
def test_heat_maps_and_other_dense_systems_refuse_the_rules_of_each_other(system: str, rule: str) -> None:
    cfg = composed(*words_of(system), f"assigner@criterion.rules.dense.assigner={rule}")
    with pytest.raises(ValueError, match=r"criterion.rules.dense does not suit model.body \(DenseBody\)"):
        make_recipe(cfg)


def test_the_words_that_a_refusal_gives_leave_out_what_another_choice_has_set() -> None:
    words = ("system=fqdet", "postprocess=topk", *SMALL_MODEL)
    with pytest.raises(ValueError, match=r"left out by (.*)") as raised:
        make_recipe(composed(*words))
    train_a_step_of(*words, *str(raised.value).partition("left out by ")[2].split())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["system=deformable_detr", "selection=topk"], ("selection=topk", "model.body.source")),
        (["system=deformable_detr", "rule@first=iou"], ("rule@first=iou", "criterion.rules.first")),
        (["system=deta", "queries@model.body.source=learned"], ("criterion.rules.first", "model.body")),
        (["system=deta", "criterion.rules.first=null"], ("model.body", "criterion.rules")),
        (["system=deformable_detr", "rule@layers=fcos"], ("criterion.rules.layers", "model.body")),
        (["system=detr", "further=[denoise]"], ("model.body.groups.denoise", "model.body.source")),
        (["system=group_detr", "further=[contrastive]"], ("model.body.groups.denoise", "model.body.source")),
        (["system=dn_detr", "further=[many]"], ("content=label", "model.body.source.labels")),
        (["system=fqdet", "further=[copies]"], ("model.body.groups.copies", "model.body ")),
        (["system=deta", "classes=softmax"], ("model.body.head.scores=softmax", "criterion.rules.first")),
        (
            ["system=detr", "data=lvis", "evaluator=lvis", "criterion.rules.layers.federated=true"],
            ("federated=true", "classes=softmax"),
        ),
        (["system=deta", "criterion.rules.layers.federated=true"], ("layers.federated=true", "data=shapes")),
        (["system=fcos", "data=coco", "criterion.rules.dense.federated=true"], ("federated=true", "data.layout=coco")),
        (["system=detr", "trainer.accumulate_grad_batches=2"], ("criterion.rules.layers", "accumulate_grad_batches")),
        (["system=h_detr", "trainer.accumulate_grad_batches=2"], ("criterion.rules.many", "accumulate_grad_batches")),
        (["system=retinanet", "model.neck.num_levels=6"], ("model.body.priors.sizes", "model.neck")),
        (["system=centernet", "neck@model.neck=fpn"], ("model.neck.num_levels", "model.backbone")),
        (["system=detr", "model.neck.num_levels=3"], ("encoder.num_levels", "neck.num_levels")),
        (["system=deformable_detr", "model.body.heads=per_layer"], ("model.body.heads", "model.body.decoder.refine")),
        (
            ["system=deformable_detr", "model.body.heads=with_first_stage"],
            ("model.body.heads=with_first_stage", "first stage"),
        ),
        (
            ["system=deformable_detr", "model.body.decoder.position=references"],
            ("model.body.decoder", "model.body.source"),
        ),
        (["system=detr", "model.body.source.reference_size=2"], ("model.body.decoder", "model.body.source")),
        (["system=group_detr", "model.body.source.reference_size=0"], ("model.body.decoder", "model.body.source")),
        (["system=dab_detr", "model.body.decoder.position=queries"], ("model.body.decoder", "model.body.source")),
        (["system=dino", "model.body.decoder.position=queries"], ("model.body.decoder", "model.body.source")),
        (["system=dab_detr", "model.body.source.content=label"], ("content=label", "model.body.source.labels")),
        (
            ["system=fqdet", "assigner@criterion.rules.first.assigner=tal"],
            ("criterion.rules.first.assigner.score", "postprocess.score"),
        ),
        (["system=fqdet", "rule@first=gaussian"], ("criterion.rules.first", "model.body ")),
        (
            ["system=fqdet", "assigner@criterion.rules.layers.assigner=simota"],
            ("criterion.rules.layers.on", "criterion.rules.layers.assigner"),
        ),
        (
            ["system=fqdet", "assigner@criterion.rules.layers.assigner=hungarian"],
            ("criterion.rules.layers.on", "criterion.rules.layers.assigner"),
        ),
        (
            ["system=fqdet", "assigner@criterion.rules.layers.assigner=release"],
            ("criterion.rules.layers", "model.body "),
        ),
        (["system=fqdet", "queries@model.body.source=encoder"], ("model.body.source", "model.body ")),
        (["system=fqdet", "encoder@model.body.encoder=dense"], ("model.body.encoder", "model.body ")),
        (["system=fqdet", "decoder@model.body.decoder=deformable"], ("model.body.decoder", "model.body ")),
        (["system=deta", "encoder@model.body.encoder=none"], ("model.body.encoder", "model.body ")),
        (["system=deta", "queries@model.body.source=anchors"], ("model.body.source", "model.body ")),
        (["system=deta", "decoder@model.body.decoder=anchors"], ("model.body.decoder", "model.body ")),
        (
            ["system=h_detr", "queries@model.body.source=learned"],
            ("model.body.source.num_classes", "model.body.source ("),
        ),
        (["system=dino", "queries@model.body.source=boxes"], ("model.body.source.supervise", "model.body.source (")),
        (
            ["system=efficient_detr", "queries@model.body.source=points"],
            ("model.body.source.score", "model.body.source ("),
        ),
        (
            ["system=efficient_detr", "decoder@model.body.decoder=boxes"],
            ("model.body.decoder.position", "model.body.source.position"),
        ),
        (["system=h_detr", "model.body.decoder.position=references"], ("model.body.decoder.", "model.body.source.")),
        (["system=tsp_rcnn", "dense_head@model.body.first.head=aligned"], ("model.body.head", "model.body.codec")),
        (["system=tsp_rcnn", "priors@model.body.first.priors=scales"], ("model.body.priors.sizes", ".priors.scales")),
        (["system=yolox", "postprocess=topk"], ("postprocess.threshold", "postprocess (")),
        (["system=tsp_rcnn", "postprocess=one_per_query"], ("postprocess.least_side", "postprocess (")),
        (["system=fqdet", "postprocess=topk"], ("postprocess.iou_threshold", "postprocess (")),
        (["system=retinanet", "postprocess=peaks"], ("postprocess ", "model.body (")),
        (["system=retinanet", "+score@postprocess.score=quality"], ("postprocess ", "model.body (")),
        (["system=retinanet", "+score@postprocess.score=softmax"], ("postprocess.score", "model.body.head")),
        (["system=retinanet", "criterion=fcos"], ("criterion.rules.dense", "model.body ")),
        (["system=retinanet", "criterion=query"], ("criterion.rules.", "model.body ")),
        (["system=retinanet", "criterion=tsp_rcnn"], ("criterion.rules.first", "model.body ")),
        (["system=yolox", "criterion=retinanet"], ("criterion.rules.dense", "model.body ")),
        (["system=faster_rcnn", "criterion=tsp_rcnn"], ("criterion.rules.roi", "model.body ")),
        (
            ["system=faster_rcnn", "assigner@criterion.rules.roi.assigner.assigner=gaussian"],
            ("criterion.rules.roi", "model.body "),
        ),
        (["system=faster_rcnn", "neck@model.neck=pafpn"], ("model.neck.extra", "model.neck (")),
        (["system=tsp_rcnn", "score@postprocess.score=sigmoid"], ("postprocess.score", "model.body.head")),
        (
            ["system=deta", "class_term@criterion.rules.layers.class_terms.class=cross_entropy"],
            ("criterion.rules.layers.class_terms.class", "model.body.head"),
        ),
        (
            ["system=detr", "criterion.rules.layers.assigner.scores=sigmoid"],
            ("criterion.rules.layers.assigner.scores", "model.body.head"),
        ),
    ],
)
def test_choices_that_do_not_go_together_are_refused_by_both_keys(words: list[str], named: tuple[str, str]) -> None:
    cfg = composed(*words)
    with pytest.raises((ValueError, InstantiationException)) as raised:
        make_recipe(cfg)
    assert all(key in str(raised.value) for key in named)
    assert "__init__()" not in str(raised.value)
