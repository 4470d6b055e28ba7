"""The whole detector behind the backbone against the reference implementation."""

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from deta.models import Backbone, Decoder, Detector, Encoder, EncoderProposals, LearnedQueries, Neck, QuerySource
from deta.models.checkpoint import from_release, to_release
from deta.models.selection import Selection, TopK, TopKPerLevel

if TYPE_CHECKING:
    from tests.golden.conftest import GoldenCase


@pytest.mark.golden("model")
def test_detector_equals_reference(case: "GoldenCase") -> None:
    detector = reference_detector(case)
    features = [case.inputs[f"feature_{index}"] for index in range(len(case.config["backbone_channels"]))]
    with torch.no_grad():
        memory = detector.encode(features, case.inputs["mask"])
        queries, _ = detector.proposals(memory)
        output = detector.forward_features(features, case.inputs["mask"])
    expected = case.outputs
    num_queries = len(expected["query_embed"])  # learned queries are stored for one image
    _assert_close(memory.tokens[:, ::16], expected["memory_every16"])
    _assert_close(queries.position[:num_queries], expected["query_embed"])
    _assert_close(queries.content[:num_queries], expected["tgt"])
    _assert_close(output.layers[0].references, expected["init_reference"])
    names = [f"aux{layer}_pred" for layer in range(len(output.layers) - 1)] + ["pred"]
    for layer, name in zip(output.layers, names, strict=True):
        _assert_close(layer.logits, expected[f"{name}_logits"])
        _assert_close(layer.boxes, expected[f"{name}_boxes"])
    assert (output.proposals is not None) == case.config["two_stage"]
    if output.proposals is not None:
        assert torch.equal(output.proposals.selected, expected["topk_proposals"])
        _assert_close(output.proposals.logits, expected["enc_pred_logits"])
        _assert_close(output.proposals.boxes, expected["enc_pred_boxes"])
        _assert_close(output.proposals.anchors, expected["anchors"])


@pytest.mark.golden("model")
def test_state_dict_survives_the_way_to_our_names_and_back(case: "GoldenCase") -> None:
    returned = to_release(reference_detector(case))
    assert set(returned) == set(case.state)
    assert all(torch.equal(returned[name], tensor) for name, tensor in case.state.items())


def reference_detector(case: "GoldenCase") -> Detector:
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
        hidden_dim=config["hidden_dim"],
        backbone=NoBackbone(tuple(config["backbone_channels"])),
        neck=partial(Neck, hidden_dim=config["hidden_dim"], num_levels=config["num_feature_levels"]),
        encoder=Encoder(num_layers=config["enc_layers"], num_points=config["enc_n_points"], **shared),
        proposals=_query_source(config),
        decoder=Decoder(
            num_layers=config["dec_layers"],
            num_points=config["dec_n_points"],
            refine="iterative" if config["with_box_refine"] else "none",
            **shared,
        ),
    )
    detector.load_state_dict(from_release(case.state))
    return detector.eval()


class NoBackbone(Backbone):
    """Stands for the backbone whose maps are given."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.channels = channels
        self.strides = tuple(8 * 2**level for level in range(len(channels)))


def _query_source(config: dict[str, Any]) -> QuerySource:
    if not config["two_stage"]:
        return LearnedQueries(hidden_dim=config["hidden_dim"], num_queries=config["num_queries"])
    selection: Selection = TopKPerLevel() if config["assign_first_stage"] else TopK()
    return EncoderProposals(
        hidden_dim=config["hidden_dim"],
        num_queries=config["num_queries"],
        num_classes=config["num_classes"],
        selection=selection,
    )


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=5e-5)
