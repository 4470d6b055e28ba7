"""What every system of dense heads or of regions must do, whatever is in a batch, as it is composed."""

import pytest
import torch
from hydra.errors import InstantiationException

from deta.building.combinations import require_grid, require_scores
from deta.testing import check_system
from deta.testing.systems import Task, task
from tests.systems.composed import DENSE, REGIONS, build, words_of
from tests.systems.test_every_system import COMPILED, HALVES, HARD, lvis, made, trained

PUBLISHED = {
    "centernet": ("neck@model.neck=deconv_deformable",),
    "yolox": ("model=yolox_s", "backbone@model.backbone=darknet_s", "model.backbone.stem_channels=4"),
}
"""What makes a system the published one, where that has other parts; tiny."""


@pytest.mark.gate
@pytest.mark.parametrize("system", DENSE + REGIONS)
def test_a_dense_system_does_what_every_system_must(system: str) -> None:
    check_system(lambda num_classes: build(num_classes, *words_of(system)), without=[COMPILED])


@pytest.mark.gate
@pytest.mark.parametrize("system", PUBLISHED)
def test_a_published_one_of_other_parts_does_what_every_system_must(system: str) -> None:
    has_backbone = any(word.startswith("backbone@") for word in PUBLISHED[system])
    words = [word for word in words_of(system) if not (has_backbone and word.startswith("model.backbone"))]
    check_system(lambda num_classes: build(num_classes, *words, *PUBLISHED[system]), without=[COMPILED])


@pytest.mark.parametrize("case", HARD[1:], ids=str)
@pytest.mark.parametrize("system", DENSE + REGIONS)
def test_hard_batches_train_every_dense_system(system: str, case: Task) -> None:
    built = made(system, case.num_classes)
    result = trained(case, built)
    detections = built[2](result.output.final, case.batch.original_sizes)
    assert detections.boxes.isfinite().all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("system", DENSE + REGIONS)
def test_half_precision_gives_finite_losses_and_matches_what_is_float32(system: str, dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=dtype):
        result = trained(task("objects"), made(system, 6))
    assert all(stage.logits.dtype == stage.boxes.dtype == torch.float32 for stage in result.output.stages.values())


@pytest.mark.parametrize("system", DENSE)
def test_only_some_classes_count_in_every_dense_system(system: str) -> None:
    lists, word = lvis(), "criterion.rules.dense.federated=true"
    some, every = (trained(lists, made(system, 8, *words)).losses for words in ((word,), ()))
    assert some is not None
    assert every is not None
    assert some.names == every.names
    for (_, name), part, whole in zip(some.names, some.terms(), every.terms(), strict=True):
        assert part < whole if name == "class" else torch.isclose(part, whole)


@pytest.mark.parametrize("system", REGIONS)
def test_classes_of_regions_that_share_a_probability_cannot_count_one_by_one(system: str) -> None:
    with pytest.raises(InstantiationException, match=r"federated=true leaves out classes .* classes=softmax cannot"):
        made(system, 8, "criterion.rules.roi.federated=true")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("postprocess=per_level",), r"postprocess \(PerLevelNMS\) needs .* on a grid, .*\(RoIBody\) does not"),
        (("assigner@criterion.rules.first.assigner.assigner=simota",), r"rules\.first\.assigner\.assigner\.score=null"),
        (("assigner@criterion.rules.first.assigner.assigner=hungarian",), r"first\.assigner\.assigner\.scores=sigmoid"),
    ],
)
def test_what_a_system_of_regions_cannot_do_is_refused_by_its_key(words: tuple[str, ...], message: str) -> None:
    detector, criterion, postprocess = build(3, *words_of("faster_rcnn"), *words)

    def require() -> None:
        require_scores(criterion, detector.body)
        require_grid(postprocess, detector.body)

    with pytest.raises(ValueError, match=message):
        require()
