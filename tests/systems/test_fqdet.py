"""FQDet against its reference outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.assign import Draw, TopKIoUAssigner
from deta.models.query.fqdet import FQDetBody
from deta.models.releases import from_release
from deta.models.releases.fqdet import FQDET
from deta.ops.deltas import decode_deltas
from deta.structures import DetectionOutput, Detections, Prediction, StageKey, Targets
from deta.training.optim import PARAMETER_NAMES, parameter_groups
from tests.systems.fqdet import criterion, detector, features, padding, pairs, selection, source, targets
from tests.systems.published import WORDS, composed, numbered, published_detector, read

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

FIRST = StageKey("first")
SYSTEMS = ("fqdet",)


@pytest.mark.reference("model", systems=SYSTEMS)
def test_the_detector_predicts_what_the_reference_does(case: "ReferenceCase") -> None:
    model, expected = detector(case), case.outputs
    body = model.body
    assert isinstance(body, FQDetBody)
    seen: dict[str, Tensor] = {}
    for layer, part in enumerate(body.decoder.layers):
        part.register_forward_hook(lambda _, __, output, layer=layer: seen.update({f"hs_{layer}": output}))
    body.source.box_encoding.register_forward_hook(lambda _, __, output: seen.update(box_encs=output))
    with torch.no_grad():
        output = _output(model, case, *_maps(case))
    frame = case.inputs["image_sizes"].float().flip(1).repeat(1, 2)[:, None]
    first, final = output.stages[FIRST], output.final
    for image in range(len(frame)):
        _assert_close((first.priors * frame)[image], expected["anchors_cxcywh"], atol=1e-3)
    _assert_close(first.logits[..., 0], expected["sel_logits"])
    assert final.source is not None
    assert torch.equal(final.source, expected["sel_ids"])
    _assert_close(final.priors * frame, expected["prior_boxes_cxcywh"], atol=1e-3)
    _assert_close(final.logits, expected["cls_logits"])
    assert final.code is not None
    _assert_close(final.code, expected["box_logits"])
    _assert_close(final.boxes * frame, expected["pred_boxes_cxcywh"], atol=1e-3)
    assert len(seen) == case.config["dec_layers"] + 1
    for name, values in seen.items():
        _assert_close(values, expected[name])


@pytest.mark.reference("model", systems=SYSTEMS)
def test_losses_and_gradients_of_the_detector_are_those_of_the_reference(case: "ReferenceCase") -> None:
    if case.config["mode"] != "train":
        pytest.skip("no targets")
    model, expected = detector(case), case.outputs
    maps = [feature.requires_grad_() for feature in _maps(case)]
    output = _output(model, case, *maps)
    seen = targets(case, case.inputs["image_sizes"])
    losses = criterion(case.config)(output, seen, Draw.of(0))
    last = case.config["dec_layers"]
    names = ("sel_loss", f"cls_loss_{last}", f"box_loss_{last}")
    _assert_close(losses.terms().detach(), torch.stack([expected[f"loss/{name}"] for name in names]))
    counts = case.inputs["sizes"].tolist()
    target = losses.matches_of(output.last).classes.target
    assert pairs(target, counts) == _pairs(case, "head_matched")
    losses.total().backward()
    gradients = _by_published_name(model, {name: value.grad for name, value in model.named_parameters()})
    for name, values in expected.items():
        if name.startswith("grad_state/"):
            _assert_gradient(gradients[name.removeprefix("grad_state/")], values, name)
    norms = torch.stack([gradients[name].norm() for name in case.config["grad_names"]])
    _assert_gradient(norms, expected["grad_l2"], "grad_l2")
    for number, feature in enumerate(maps):
        assert feature.grad is not None
        _assert_gradient(feature.grad, expected[f"grad/feature_{number}"], f"feature {number}")


@pytest.mark.reference("assigner", systems=SYSTEMS)
def test_anchors_are_assigned_as_in_the_reference(case: "ReferenceCase") -> None:
    config, expected = case.config, case.outputs
    output = _given(case, queries=case.inputs["sel_ids"])
    size = torch.tensor([[side * 2 ** config["map_ids"][0] for side in config["map_shapes"][0]]])
    counts = case.inputs["sizes"].tolist()
    seen = targets(case, size.repeat(len(counts), 1))
    losses = criterion(config)(output, seen, Draw.of(0))
    chosen, overlap = _best(TopKIoUAssigner(k=config["top_limit"]), output.stages[FIRST], seen)
    _assert_close(overlap, expected["top_iou"])
    if "tie_outputs" in config:
        return
    assert torch.equal(chosen, expected["top_qry_ids"])
    is_positive = losses.matches_of(FIRST).classes.is_positive()
    assert torch.equal(is_positive, expected["stage1_labels"] == 1)
    wanted = set(_pairs(case, "stage1"))
    assert {(row, number) for row, number in pairs(losses.matches_of(FIRST).classes.target, counts)} <= wanted
    target = losses.matches_of(output.last).classes.target
    assert torch.equal((target >= 0).long(), expected["stage2_labels"])
    assert pairs(target, counts) == _pairs(case, "stage2")


@pytest.mark.reference("criterion", systems=SYSTEMS)
def test_losses_are_those_of_the_reference(case: "ReferenceCase") -> None:
    config, expected = case.config, case.outputs
    given = {name: case.inputs[name].requires_grad_() for name in ("sel_logits", "cls_logits", "box_logits")}
    output = _given(case, queries=case.inputs["sel_ids"], **given)
    counts = case.inputs["sizes"].tolist()
    frame = output.final.frame
    assert frame is not None
    losses = criterion(config)(output, targets(case, frame[:, :2].flip(1)), Draw.of(0))
    last = config["dec_layers"]
    names = ("sel_loss", f"cls_loss_{last}", f"box_loss_{last}")
    _assert_close(losses.terms().detach(), torch.stack([expected[f"loss/{name}"] for name in names]))
    _assert_close(losses.total().detach(), expected["total"])
    _assert_close(output.final.in_pixels().boxes.detach(), expected["pred_boxes_cxcywh"], atol=1e-3)
    assert losses.matches_of(FIRST).classes.is_positive().sum() == expected["stage1_num_pos"]
    assert pairs(losses.matches_of(output.last).classes.target, counts) == _pairs(case, "head_matched")
    losses.total().backward()
    for name, values in given.items():
        assert values.grad is not None
        _assert_gradient(values.grad, expected[f"grad/{name}"], name)


@pytest.mark.reference("postprocess", systems=SYSTEMS)
def test_detections_are_those_of_the_reference(case: "ReferenceCase") -> None:
    _assert_detections(_detections(case, case.inputs), case.outputs, "")


@pytest.mark.reference("model", systems=SYSTEMS)
def test_the_detector_detects_what_the_reference_does(case: "ReferenceCase") -> None:
    if case.config["mode"] == "train":
        pytest.skip("no detections")
    _assert_detections(_detections(case, case.outputs), case.outputs, "det_")
    with torch.no_grad():
        final = _output(detector(case), case, *_maps(case)).final
    # Scores as close as the logits that they are made of.
    _assert_detections(selection(case.config)(final, case.inputs["image_sizes"]), case.outputs, "det_", atol=5e-5)


def _detections(case: "ReferenceCase", given: Mapping[str, Tensor]) -> Detections:
    """Of logits and deltas, in the pixels of the anchors."""
    priors = given["prior_boxes_cxcywh"]
    boxes = decode_deltas(priors, given["box_logits"], case.config["scale_clamp"])
    return selection(case.config)(Prediction(given["cls_logits"], boxes, priors), torch.ones(len(boxes), 2))


def _assert_detections(found: Detections, expected: Mapping[str, Tensor], begin: str, *, atol: float = 1e-6) -> None:
    for image, is_detection in enumerate(found.is_detection):
        assert torch.equal(found.labels[image][is_detection], expected[f"{begin}labels_{image}"])
        scores, boxes = found.scores[image][is_detection], found.boxes[image][is_detection]
        torch.testing.assert_close(scores, expected[f"{begin}scores_{image}"], rtol=0, atol=atol)
        torch.testing.assert_close(boxes, expected[f"{begin}boxes_xyxy_{image}"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stem", [stem for stem in WORDS if stem.startswith("fqdet")])
def test_every_parameter_learns_at_the_published_rate(stem: str, systems_dir: Path) -> None:
    cfg = composed(stem)
    published = {str(float(number)): name for number, name in enumerate(read(systems_dir, stem, "state_dict_keys"))}
    model = published_detector(stem)
    numbers = from_release(numbered(systems_dir, stem), model)
    names = {own: published[str(value.flatten()[0].item())] for own, value in numbers.items()}
    factors = {str(name): float(factor) for name, factor in cfg.optimizer.lr_factors.items()}
    groups = parameter_groups(model.named_parameters(), lr=cfg.optimizer.lr, lr_factors=factors)
    found = {names[own]: group["lr"] for group in groups for own in group[PARAMETER_NAMES]}
    expected = read(systems_dir, stem, "param_groups")["param_groups"]
    trained = {name: entry for name, entry in expected.items() if entry["requires_grad"]}
    assert found == pytest.approx({name: entry["lr"] for name, entry in trained.items()})
    assert {entry["weight_decay"] for entry in trained.values()} == {cfg.optimizer.make.weight_decay}


def _maps(case: "ReferenceCase") -> list[Tensor]:
    return [case.inputs[f"feature_{number}"] for number in range(len(case.config["backbone_channels"]))]


def _output(model: torch.nn.Module, case: "ReferenceCase", *maps: Tensor) -> DetectionOutput:
    is_padding = padding(case.inputs["image_sizes"], case.inputs["padded_size"])
    output: DetectionOutput = model.forward_maps(maps, is_padding)  # type: ignore[operator]
    return output


def _given(case: "ReferenceCase", *, queries: Tensor, **outputs: Tensor) -> DetectionOutput:
    """What a detector would give with these queries and outputs; zeros where nothing is given."""
    config = case.config
    levels = features(config, len(queries))
    anchors, _, _ = source(config).anchors(levels)
    frame = levels.frame()
    priors = anchors / frame[:, None]  # [B, N, 4]
    scores = outputs.get("sel_logits", torch.zeros(priors.shape[:2]))
    first = Prediction(scores[..., None], priors, priors, frame)
    own = priors.gather(1, queries[..., None].expand(-1, -1, 4))  # [B, Q, 4]
    deltas = outputs.get("box_logits", torch.zeros_like(own))
    logits = outputs.get("cls_logits", torch.zeros(*queries.shape, config["num_classes"] + 1))
    boxes = decode_deltas(own, deltas, config["scale_clamp"])
    last = StageKey("layers", config["dec_layers"] - 1)
    final = Prediction(logits, boxes, own, frame, code=deltas, source=queries)
    return DetectionOutput({FIRST: first, last: final}, last)


def _best(rule: TopKIoUAssigner, first: Prediction, seen: Targets) -> tuple[Tensor, Tensor]:
    """``[k, objects of the batch]`` candidates of the batch, and their overlaps."""
    chosen, overlap = rule.best(first, seen)
    start = torch.arange(len(chosen))[:, None, None] * first.num_candidates
    return (chosen + start)[seen.is_object].T, overlap[seen.is_object].T


def _pairs(case: "ReferenceCase", name: str) -> list[tuple[int, int]]:
    candidates, objects = (case.outputs[f"{name}_{part}_ids"].tolist() for part in ("qry", "tgt"))
    return list(zip(candidates, objects, strict=True))


def _by_published_name(model: torch.nn.Module, values: dict[str, Tensor | None]) -> dict[str, Tensor]:
    found = {name: torch.zeros(()) if value is None else value for name, value in values.items()}
    return FQDET.to_release(found)


def _assert_close(found: Tensor, expected: Tensor, *, atol: float = 5e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=atol)


def _assert_gradient(found: Tensor, expected: Tensor, name: str) -> None:
    atol = 5e-5 + (1e-5 * float(expected.abs().max()) if expected.numel() else 0.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=atol, msg=lambda text: f"{name}: {text}")
