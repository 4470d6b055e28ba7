"""Detectors built as a reference case describes them."""

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from deta.models import (
    Backbone,
    Decoder,
    Detector,
    Encoder,
    EncoderProposals,
    LearnedQueries,
    Neck,
    QueryBody,
    QuerySource,
)
from deta.models.query.selection import Selection, TopKPerLevel, TopKPositions
from deta.models.releases import from_release

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


def reference_detector(case: "ReferenceCase") -> Detector:
    """The detector of a case with its weights, in evaluation mode; its backbone only states channels."""
    config = case.config
    shared: dict[str, Any] = {
        "hidden_dim": config["hidden_dim"],
        "num_levels": config["num_feature_levels"],
        "num_heads": config["nheads"],
        "ffn_dim": config["dim_feedforward"],
        "dropout": config["dropout"],
    }
    detector = Detector(
        num_classes=config["num_classes"],
        backbone=NoBackbone(tuple(config["backbone_channels"])),
        neck=partial(Neck, hidden_dim=config["hidden_dim"], num_levels=config["num_feature_levels"]),
        body=partial(
            QueryBody,
            hidden_dim=config["hidden_dim"],
            encoder=Encoder(num_layers=config["enc_layers"], num_points=config["enc_n_points"], **shared),
            source=_query_source(config),
            decoder=Decoder(
                num_layers=config["dec_layers"],
                num_points=config["dec_n_points"],
                refine="iterative" if config["with_box_refine"] else "none",
                **shared,
            ),
        ),
    )
    detector.load_state_dict(from_release(case.state, detector))
    return detector.eval()


class NoBackbone(Backbone):
    """Stands for the backbone whose maps are given."""

    def __init__(self, channels: tuple[int, ...], finest: int = 8) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.channels = channels
        self.strides = tuple(finest * 2**level for level in range(len(channels)))


def _query_source(config: dict[str, Any]) -> QuerySource:
    if not config["two_stage"]:
        return LearnedQueries(hidden_dim=config["hidden_dim"], num_queries=config["num_queries"])
    selection: Selection = TopKPerLevel() if config["assign_first_stage"] else TopKPositions()
    return EncoderProposals(
        hidden_dim=config["hidden_dim"],
        num_queries=config["num_queries"],
        num_classes=config["num_classes"],
        selection=selection,
    )
