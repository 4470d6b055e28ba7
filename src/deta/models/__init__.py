"""The detector and its parts."""

from deta.models.backbone import Backbone, TorchvisionBackbone
from deta.models.convnet import ConvBackbone
from deta.models.decoder import Decoder
from deta.models.detector import Detector
from deta.models.encoder import Encoder
from deta.models.groups import QueryGroup
from deta.models.neck import Neck
from deta.models.proposals import EncoderProposals, LearnedQueries, QuerySource
from deta.models.selection import Selection
from deta.models.swin import SwinBackbone
from deta.models.timm_backbone import TimmBackbone
from deta.models.tokens import FeatureTokens, Queries

__all__ = [
    "Backbone",
    "ConvBackbone",
    "Decoder",
    "Detector",
    "Encoder",
    "EncoderProposals",
    "FeatureTokens",
    "LearnedQueries",
    "Neck",
    "Queries",
    "QueryGroup",
    "QuerySource",
    "Selection",
    "SwinBackbone",
    "TimmBackbone",
    "TorchvisionBackbone",
]
