"""The body of the DETR family: features become tokens, tokens queries, and queries predictions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from torch import nn

from deta.models.body import Body
from deta.models.query.decoder import QueryDecoder
from deta.models.query.encoder import QueryEncoder
from deta.models.query.groups import QueryGroup, Sees, attention_mask, join
from deta.models.query.heads import PredictionHead
from deta.models.query.sources import QuerySource
from deta.models.query.tokens import made_of
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, Prediction, StageKey, Targets
from deta.utils.checks import require_choice, require_int

FIRST, MAIN = "first", "layers"
"""Roles of the first stage and of the queries that detect."""


def require_kind(body: Body, name: str, part: object, *kinds: type) -> None:
    """Require a part of a body to be of a class that its other parts can work with.

    Raises:
        ValueError: It is of another class.
    """
    if not isinstance(part, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"model.body.{name} ({type(part).__name__}) is none for model.body ({type(body).__name__}), which takes "
            f"{wanted}: choose another of this group, or the system= that it belongs to"
        )


class QueryBody(Body):
    """Encoder, source of queries, decoder and its heads: a detection transformer of the DETR family.

    Source: arXiv:2212.06137 (DETA), arXiv:2010.04159 (Deformable DETR), arXiv:2005.12872 (DETR) and others, depending
    on the parts.

    Args:
        num_classes: Categories.
        channels: Of every level of the neck, all ``hidden_dim``.
        hidden_dim: Channels of every token; all parts must agree.
        encoder: Features to memory.
        source: Memory to queries.
        decoder: Queries and memory to predictions.
        groups: Further groups of queries for training, by the role of their rule; what is no group yet is called with
            ``source``.
        head: Makes a head when called with ``hidden_dim`` and ``num_classes``; None makes a ``PredictionHead``.
        heads: ``per_layer``; ``shared`` by all layers, as it must be where boxes are not refined; or
            ``with_first_stage``, one for all layers and the first stage. None is per layer where boxes are refined.
        start_small: Whether boxes of the first head start small; None: where references are points.

    Raises:
        ValueError: A part is of another kind, the parts do not agree in channels or levels, the decoder cannot take the
            queries of the source, or a group has the role of another stage.
    """

    detects_on_grid = False

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        hidden_dim: int,
        encoder: QueryEncoder,
        source: QuerySource,
        decoder: QueryDecoder,
        groups: Mapping[str, QueryGroup | Callable[..., QueryGroup]] | None = None,
        head: Callable[..., PredictionHead] | None = None,
        heads: str | None = None,
        start_small: bool | None = None,
    ) -> None:
        super().__init__()
        self.hidden_dim = require_int("model.body.hidden_dim", hidden_dim, low=1)
        for name, part, kind in (
            ("encoder", encoder, QueryEncoder),
            ("source", source, QuerySource),
            ("decoder", decoder, QueryDecoder),
        ):
            require_kind(self, name, part, kind)
        _require_agreement(hidden_dim, channels, encoder, source, decoder)
        _require_references(source, decoder)
        self.encoder = encoder
        self.source = source
        self.decoder = decoder
        for role in (FIRST, MAIN):
            if role in (groups or {}):
                raise ValueError(f"model.body.groups.{role}: this role is taken, give the group another one")
        self.groups = nn.ModuleDict(
            {
                role: group if isinstance(group, QueryGroup) else group(source=source)
                for role, group in (groups or {}).items()
            }
        )
        for role, each in self._groups():
            require_choice(f"model.body.groups.{role}.sees", each.sees, get_args(Sees))
        self.roles = (*((FIRST,) if source.has_first_stage else ()), MAIN, *self.groups)
        self.placed = self.roles if source.has_first_stage else ()
        self.layout = _layout(heads, decoder, source)
        count = {"per_layer": decoder.num_layers, "shared": 1, "with_first_stage": 0}[self.layout]
        make = PredictionHead if head is None else head
        made = [make(hidden_dim=hidden_dim, num_classes=num_classes) for _ in range(count)]
        if made and (source.reference_size == 2 if start_small is None else start_small):
            made[0].start_with_small_boxes()
        self.heads = nn.ModuleList(made)

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        """The first stage, then every decoder layer of the main queries, then those of further groups.

        Groups are made of ``targets`` and ``draw``, and left out where one of them is None.
        """
        memory = self.encoder(features)
        queries, first = self.source(memory, draw)
        parts = {MAIN: queries}
        left_out = () if self.training else tuple(role for role, group in self._groups() if group.only_in_training)
        if targets is not None and draw is not None:
            for role, group in self._groups():
                if role not in left_out:
                    parts[role] = group(self.source, memory, queries, first, targets, draw.within(role))
        sees = {role: group.sees for role, group in self._groups()}
        layers = self.decoder(join(list(parts.values())), memory, self._layer_heads(), attention_mask(parts, sees))
        frame = features.frame()
        stages = {}
        if first is not None:
            stages[StageKey(FIRST)] = replace(self.source.supervised(first, queries), frame=frame)
        start = 0
        for role, part in parts.items():
            stop = start + part.count
            levels, strides = made_of(part.source, first)
            origin = {"source": part.source, "levels": levels, "strides": strides}
            for index, layer in enumerate(layers):
                own = layer if len(parts) == 1 else layer.slice(start, stop)
                whole = replace(own, frame=frame, given=part.given, exists=part.exists, **origin)
                stages |= self._copies(role, index, whole)
            start = stop
        return DetectionOutput(stages, StageKey(MAIN, len(layers) - 1), left_out=left_out)

    def _copies(self, role: str, layer: int, whole: Prediction) -> dict[StageKey, Prediction]:
        """The equal parts of a group, each a stage of its own."""
        count = 1 if role == MAIN else dict(self._groups())[role].num_copies
        if count == 1:
            return {StageKey(role, layer): whole}
        size, rest = divmod(whole.num_candidates, count)
        if rest:
            raise ValueError(f"model.body.groups.{role}: {whole.num_candidates} queries are not {count} equal parts")
        return {StageKey(role, layer, copy): whole.slice(copy * size, (copy + 1) * size) for copy in range(count)}

    def _groups(self) -> Iterator[tuple[str, QueryGroup]]:
        return ((role, group) for role, group in self.groups.items() if isinstance(group, QueryGroup))

    def _layer_heads(self) -> list[PredictionHead]:
        heads = [head for head in self.heads if isinstance(head, PredictionHead)]
        if self.layout == "with_first_stage":
            heads = [part for part in (self.source.head,) if isinstance(part, PredictionHead)]
        return heads if self.layout == "per_layer" else heads * self.decoder.num_layers


def _layout(heads: str | None, decoder: QueryDecoder, source: QuerySource) -> str:
    """Which layers share a head.

    Raises:
        ValueError: Boxes are not refined, but layers have heads of their own; or there is no head of a first stage.
    """
    is_fixed = decoder.refine == "none"
    layout = heads or ("shared" if is_fixed else "per_layer")
    require_choice("model.body.heads", layout, ("per_layer", "shared", "with_first_stage"))
    if layout == "per_layer" and is_fixed:
        raise ValueError("model.body.heads=per_layer needs boxes that are refined: set model.body.decoder.refine")
    if layout == "with_first_stage" and not source.has_first_stage:
        raise ValueError("model.body.heads=with_first_stage needs a source with a first stage")
    return layout


def _require_agreement(
    hidden_dim: int, channels: Sequence[int], encoder: QueryEncoder, source: QuerySource, decoder: QueryDecoder
) -> None:
    other = next((width for width in channels if width != hidden_dim), hidden_dim)
    widths = {
        "model.neck": other,
        "model.body.encoder": encoder.hidden_dim,
        "model.body.source": source.hidden_dim,
        "model.body.decoder": decoder.hidden_dim,
    }
    for name, width in widths.items():
        if width != hidden_dim:
            raise ValueError(f"{name}.hidden_dim must equal model.body.hidden_dim {hidden_dim}, got {width}")
    for name, levels in (("encoder", encoder.num_levels), ("decoder", decoder.num_levels)):
        if levels != len(channels):
            raise ValueError(
                f"model.body.{name}.num_levels must equal model.neck.num_levels {len(channels)}, got {levels}"
            )


_REFERENCES = {0: "no references", 2: "points as references", 4: "boxes as references"}


def _require_references(source: QuerySource, decoder: QueryDecoder) -> None:
    if source.reference_size not in decoder.reference_sizes:
        taken = " or ".join(_REFERENCES[size] for size in decoder.reference_sizes)
        raise ValueError(
            f"model.body.decoder ({type(decoder).__name__}, as it is set) takes {taken}, and model.body.source "
            f"({type(source).__name__}) gives {_REFERENCES[source.reference_size]}"
        )
    if decoder.makes_position and source.has_spare_position:
        raise ValueError(
            f"model.body.decoder.position=references makes the position, and so does model.body.source.position=boxes "
            f"({type(source).__name__}), of which nothing would be read: set model.body.source.position=none"
        )
    if not (decoder.makes_position or source.has_position):
        raise ValueError(
            f"model.body.decoder.position=queries needs a position, which queries of model.body.source "
            f"({type(source).__name__}) lack: set position=references"
        )
