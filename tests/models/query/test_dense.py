"""Encoders and decoders that attend to every cell."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from deta.models import ConditionalDecoder, DenseDecoder, DenseEncoder, LearnedQueries, QueryBody
from deta.models.query.heads import PredictionHead
from deta.models.query.tokens import FeatureTokens, Queries
from deta.structures import Features
from tests.models.tiny import HIDDEN_DIM, levels, tokens

SMALL: dict[str, Any] = {"hidden_dim": HIDDEN_DIM, "num_layers": 2, "num_heads": 4, "ffn_dim": 48, "dropout": 0.0}


def mask() -> torch.Tensor:
    """The second image is padded by half."""
    is_padding = torch.zeros(2, 6, 8, dtype=torch.bool)
    is_padding[1, :, 4:] = True
    return is_padding


def start(reference_size: int) -> Queries:
    generator = torch.Generator().manual_seed(1)
    content, position = torch.randn(2, 2, 5, HIDDEN_DIM, generator=generator)
    references = torch.rand(2, 5, reference_size, generator=generator) * 0.5 + 0.2 if reference_size else None
    return Queries(content, position, references)


def head() -> PredictionHead:
    torch.manual_seed(2)
    return PredictionHead(hidden_dim=HIDDEN_DIM, num_classes=2, starts_at_reference=False)


def encoder(**options: Any) -> DenseEncoder:  # noqa: ANN401 - passed on
    torch.manual_seed(0)
    return DenseEncoder(**{**SMALL, **options})


def padded(features: Features, value: float) -> Features:
    """The same with another value on padding."""
    (feature,), (is_padding,) = features.maps, features.is_padding
    return replace(features, maps=(feature.masked_fill(is_padding[:, None], value),))


@pytest.mark.parametrize("options", [{}, {"pre_norm": True}, {"activation": "prelu", "scale_position": True}])
def test_cells_of_padding_are_not_seen(options: dict[str, Any]) -> None:
    model, features = encoder(**options), levels([mask()])
    first, second = (model(padded(features, value)) for value in (0.0, 9.0))
    seen = ~first.is_padding
    torch.testing.assert_close(first.tokens[seen], second.tokens[seen])
    assert first.tokens.isfinite().all()


def test_norms_before_the_blocks_have_one_behind_the_last() -> None:
    assert isinstance(encoder(pre_norm=True).norm, nn.LayerNorm)
    assert encoder().norm is None


def decoder(kind: str) -> DenseDecoder | ConditionalDecoder:
    torch.manual_seed(0)
    if kind == "dense":
        return DenseDecoder(**SMALL)
    if kind == "conditional":
        return ConditionalDecoder(**SMALL)
    boxes: dict[str, Any] = {"refine": "look_forward_twice", "position": "references", "modulate": True}
    return ConditionalDecoder(**SMALL, **boxes, num_levels=2 if kind == "levels" else 1)


def encoded(kind: str) -> FeatureTokens:
    masks = [mask(), mask()[:, ::2, ::2]] if kind == "levels" else [mask()]
    return tokens(masks)


KINDS = {"dense": 0, "conditional": 2, "modulated": 4, "levels": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_queries_do_not_see_tokens_of_padding(kind: str) -> None:
    model, memory, queries = decoder(kind), encoded(kind), start(KINDS[kind])
    other = replace(memory, tokens=memory.tokens.masked_fill(memory.is_padding[..., None], 9.0))
    first, second = (model(queries, part, [head()] * 2)[-1] for part in (memory, other))
    torch.testing.assert_close(first.boxes, second.boxes)
    assert first.boxes.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_trained(kind: str) -> None:
    model, made = decoder(kind), head()
    layers = model(start(KINDS[kind]), encoded(kind), [made] * 2)
    torch.stack([layer.boxes.sum() + layer.logits.sum() for layer in layers]).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("kind", KINDS)
def test_priors_are_boxes_without_gradient(kind: str) -> None:
    for layer in decoder(kind)(start(KINDS[kind]), encoded(kind), [head()] * 2):
        assert layer.priors.shape == layer.boxes.shape
        assert not layer.priors.requires_grad


@pytest.mark.parametrize(
    ("kind", "size", "named"),
    [
        ("dense", 2, "takes no references, and"),
        ("conditional", 0, "takes points as references or boxes as references, and"),
        ("modulated", 2, "takes boxes as references, and"),
    ],
)
def test_a_source_whose_references_a_decoder_cannot_use_is_refused(kind: str, size: int, named: str) -> None:
    source = LearnedQueries(hidden_dim=HIDDEN_DIM, reference_size=size, content="zeros")
    with pytest.raises(ValueError, match=rf"model.body.decoder .* {named}"):
        QueryBody(
            num_classes=2,
            channels=(HIDDEN_DIM,),
            hidden_dim=HIDDEN_DIM,
            encoder=encoder(),
            source=source,
            decoder=decoder(kind),
        )
