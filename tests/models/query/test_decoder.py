"""The decoder."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deta.models import Decoder
from deta.models.query.groups import attention_mask
from deta.models.query.heads import PredictionHead
from deta.models.query.tokens import FeatureTokens, Queries
from deta.structures import Prediction
from tests.models.tiny import HIDDEN_DIM, tokens


def memory() -> FeatureTokens:
    return tokens([torch.zeros(2, 6, 8, dtype=torch.bool), torch.zeros(2, 3, 4, dtype=torch.bool)])


def start(num_queries: int = 6, reference_size: int = 4) -> Queries:
    generator = torch.Generator().manual_seed(1)
    content, position = torch.randn(2, 2, num_queries, HIDDEN_DIM, generator=generator)
    references = torch.rand(2, num_queries, reference_size, generator=generator) * 0.5 + 0.2
    return Queries(content, position, references)


def decoder(**options: Any) -> Decoder:  # noqa: ANN401 - passed on
    torch.manual_seed(0)
    return Decoder(hidden_dim=HIDDEN_DIM, num_levels=2, num_layers=3, num_heads=4, ffn_dim=48, **options)


def heads(count: int) -> list[PredictionHead]:
    torch.manual_seed(2)
    made = [PredictionHead(hidden_dim=HIDDEN_DIM, num_classes=2) for _ in range(count)]
    for head in made:
        nn.init.normal_(head.box_deltas.last.weight, std=0.5)
    return made


def test_every_layer_starts_from_the_boxes_of_the_one_before() -> None:
    queries = start()
    layers = decoder()(queries, memory(), heads(3))
    assert queries.references is not None
    assert torch.equal(layers[0].priors, queries.references)
    for before, after in itertools.pairwise(layers):
        assert torch.equal(after.priors, before.boxes)
        assert not torch.equal(after.boxes, before.boxes)
        assert not after.priors.requires_grad


def test_box_of_a_later_layer_does_not_train_an_earlier_head() -> None:
    made = heads(3)
    decoder()(start(), memory(), made)[2].boxes.sum().backward()
    assert all(parameter.grad is None for head in made[:2] for parameter in head.parameters())
    assert all(parameter.grad is not None for parameter in made[2].box_deltas.parameters())


def test_without_refinement_every_layer_starts_from_the_first_references() -> None:
    queries = start(reference_size=2)
    (head,) = heads(1)
    nn.init.zeros_(head.box_deltas.last.weight)
    nn.init.constant_(head.box_deltas.last.bias, 0.5)  # whatever the content, half a logit away
    layers = decoder(refine="none")(queries, memory(), [head] * 3)
    assert queries.references is not None
    expected = (queries.references.logit() + 0.5).sigmoid()
    for layer in layers:
        torch.testing.assert_close(layer.boxes[..., :2], expected)
        assert torch.equal(layer.priors, layer.boxes)  # a point is no box


def test_the_prior_of_a_point_is_the_box_predicted_from_it() -> None:
    layers = decoder()(start(reference_size=2), memory(), heads(3))
    assert torch.equal(layers[0].priors, layers[0].boxes)
    assert torch.equal(layers[1].priors, layers[0].boxes)
    assert not layers[0].priors.requires_grad


def test_groups_do_not_influence_each_other() -> None:
    queries, made = start(), heads(3)
    part = queries.map(lambda tensor: tensor[:, :4]), queries.map(lambda tensor: tensor[:, 4:])
    mask = attention_mask({"layers": part[0], "copy": part[1]}, {"copy": "own"})
    content = queries.content.clone()
    content[:, 4:] += 1
    changed = Queries(content, queries.position, queries.references)
    before, after = (decoder()(q, memory(), made, mask)[-1] for q in (queries, changed))
    assert torch.equal(before.logits[:, :4], after.logits[:, :4])
    assert not torch.allclose(before.logits[:, 4:], after.logits[:, 4:])
    assert not torch.allclose(_last(queries, made).logits[:, :4], _last(changed, made).logits[:, :4])


def test_order_of_queries_does_not_matter() -> None:
    queries, made = start(), heads(3)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    before, after = _last(queries, made), _last(queries.map(lambda tensor: tensor[:, order]), made)
    torch.testing.assert_close(after.boxes, before.boxes[:, order])
    torch.testing.assert_close(after.logits, before.logits[:, order])


def test_padding_of_the_memory_does_not_move_the_references() -> None:
    """A reference is relative to the image, so its sampling points shrink with the unpadded share of the map."""
    image = torch.randn(1, HIDDEN_DIM, 6, 6)
    padded = torch.cat((image, torch.zeros(1, HIDDEN_DIM, 6, 6)), dim=-1)
    masks = [torch.zeros(1, 6, 6, dtype=torch.bool), torch.zeros(1, 6, 12, dtype=torch.bool)]
    masks[1][:, :, 6:] = True
    queries = start().map(lambda tensor: tensor[:1])
    torch.manual_seed(0)
    module = Decoder(hidden_dim=HIDDEN_DIM, num_levels=1, num_layers=1, num_heads=4, ffn_dim=48)
    made = heads(1)
    found = [
        module(queries, _memory(pixels, mask), made)[0].boxes
        for pixels, mask in zip((image, padded), masks, strict=True)
    ]
    torch.testing.assert_close(found[0], found[1])


def test_width_must_be_a_multiple_of_the_heads() -> None:
    with pytest.raises(ValueError, match="hidden_dim must be a multiple of num_heads, got 32 and 5"):
        Decoder(hidden_dim=32, num_levels=1, num_heads=5)


def _memory(pixels: Tensor, mask: Tensor) -> FeatureTokens:
    return replace(tokens([mask]), tokens=pixels.flatten(2).transpose(1, 2))


def _last(queries: Queries, made: list[PredictionHead]) -> Prediction:
    layers: tuple[Prediction, ...] = decoder()(queries, memory(), made)
    return layers[-1]


def test_looking_forward_twice_trains_the_layer_before_and_none_before_that() -> None:
    made = heads(3)
    layers = decoder(refine="look_forward_twice")(start(), memory(), made)
    layers[2].boxes.sum().backward()
    trained = [any(parameter.grad is not None for parameter in head.box_deltas.parameters()) for head in made]
    assert trained == [False, True, True]


def test_looking_forward_twice_predicts_what_iterative_refinement_does() -> None:
    twice, once = (
        decoder(refine=refine)(start(), memory(), heads(3)) for refine in ("look_forward_twice", "iterative")
    )
    for first, second in zip(twice, once, strict=True):
        torch.testing.assert_close(first.boxes, second.boxes)


def test_with_a_norm_before_the_heads_the_box_that_goes_on_is_not_the_one_that_is_predicted() -> None:
    model = decoder(refine="look_forward_twice", output_norm=True)
    assert model.norm is not None
    nn.init.constant_(model.norm.weight, 2.0)
    layers = model(start(), memory(), heads(3))
    assert not torch.allclose(layers[1].priors, layers[0].boxes.detach(), atol=1e-3)


def test_positions_can_be_made_of_the_references() -> None:
    model, queries = decoder(position="references", scale_position=True), start()
    with_position, without = (
        model(replace(queries, position=part), memory(), heads(3)) for part in (queries.position, None)
    )
    assert torch.equal(with_position[-1].boxes, without[-1].boxes)


def test_references_near_the_border_are_limited_as_a_system_says() -> None:
    queries = replace(start(), references=torch.zeros(2, 6, 4))
    made = heads(3)
    for head in made:
        nn.init.zeros_(head.box_deltas.last.weight)
    boxes = decoder(logit_eps=1e-2)(queries, memory(), made)[0].boxes
    torch.testing.assert_close(boxes, torch.full_like(boxes, 1e-2 / (1 + 1e-2)))
