"""The body of the DETR family: features become tokens, tokens queries, and queries predictions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn

from deta.models.body import Body
from deta.models.query.decoder import Decoder
from deta.models.query.encoder import Encoder
from deta.models.query.groups import QueryGroup, attention_mask, join
from deta.models.query.heads import PredictionHead
from deta.models.query.sources import QuerySource
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, StageKey, Targets
from deta.utils.checks import require_int

FIRST, MAIN = "first", "layers"
"""Roles of the first stage and of the queries that detect."""


class QueryBody(Body):
    """Encoder, source of queries, decoder and its heads: a detection transformer of the Deformable DETR family.

    Source: arXiv:2212.06137 (DETA), arXiv:2010.04159 (Deformable DETR), depending on ``source`` and ``decoder``.
    With iterative refinement every decoder layer has its own head, without it they share one.

    Args:
        num_classes: Categories.
        channels: Of every level of the neck, all ``hidden_dim``.
        hidden_dim: Channels of every token; all parts must agree.
        encoder: Features to memory.
        source: Memory to queries.
        decoder: Queries and memory to predictions.
        groups: Further groups of queries for training, by the role of their rule.

    Raises:
        ValueError: The parts do not agree in channels or levels, or a group has the role of another stage.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        hidden_dim: int,
        encoder: Encoder,
        source: QuerySource,
        decoder: Decoder,
        groups: Mapping[str, QueryGroup] | None = None,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("model.body.hidden_dim", hidden_dim, low=1)
        _require_agreement(hidden_dim, channels, encoder, source, decoder)
        self.encoder = encoder
        self.source = source
        self.decoder = decoder
        for role in (FIRST, MAIN):
            if role in (groups or {}):
                raise ValueError(f"model.body.groups.{role}: this role is taken, give the group another one")
        self.groups = nn.ModuleDict(groups or {})
        self.roles = (*((FIRST,) if source.has_first_stage else ()), MAIN, *self.groups)
        num_heads = 1 if decoder.refine == "none" else decoder.num_layers
        heads = [PredictionHead(hidden_dim=hidden_dim, num_classes=num_classes) for _ in range(num_heads)]
        if source.reference_size == 2:
            heads[0].start_with_small_boxes()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        """The first stage, then every decoder layer of the main queries, then those of further groups.

        Groups are made of ``targets`` and ``draw``, and left out where one of them is None.
        """
        memory = self.encoder(features)
        queries, first = self.source(memory)
        parts = {MAIN: queries}
        if targets is not None and draw is not None:
            for role, group in self._groups():
                parts[role] = group(self.source, memory, queries, targets, draw.within(role))
        sees = {role: group.sees for role, group in self._groups()}
        layers = self.decoder(join(list(parts.values())), memory, self._layer_heads(), attention_mask(parts, sees))
        frame = features.frame()
        stages = {} if first is None else {StageKey(FIRST): replace(first, frame=frame)}
        start = 0
        for role, part in parts.items():
            stop = start + part.content.shape[1]
            for index, layer in enumerate(layers):
                own = layer if len(parts) == 1 else layer.slice(start, stop)
                stages[StageKey(role, index)] = replace(
                    own, frame=frame, source=part.source, given=part.given, exists=part.exists
                )
            start = stop
        return DetectionOutput(stages, StageKey(MAIN, len(layers) - 1))

    def _groups(self) -> Iterator[tuple[str, QueryGroup]]:
        return ((role, group) for role, group in self.groups.items() if isinstance(group, QueryGroup))

    def _layer_heads(self) -> list[PredictionHead]:
        heads = [head for head in self.heads if isinstance(head, PredictionHead)]
        return heads * self.decoder.num_layers if self.decoder.refine == "none" else heads


def _require_agreement(
    hidden_dim: int, channels: Sequence[int], encoder: Encoder, source: QuerySource, decoder: Decoder
) -> None:
    other = next((width for width in channels if width != hidden_dim), hidden_dim)
    widths = {
        "neck": other,
        "encoder": encoder.hidden_dim,
        "source": source.hidden_dim,
        "decoder": decoder.hidden_dim,
    }
    for name, width in widths.items():
        if width != hidden_dim:
            raise ValueError(f"{name}.hidden_dim must equal model.body.hidden_dim {hidden_dim}, got {width}")
    for name, levels in (("encoder", encoder.num_levels), ("decoder", decoder.num_levels)):
        if levels != len(channels):
            raise ValueError(f"{name}.num_levels must equal neck.num_levels {len(channels)}, got {levels}")
