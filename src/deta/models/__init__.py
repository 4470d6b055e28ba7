"""The detector and its parts."""

from deta.models.backbones.backbone import Backbone
from deta.models.backbones.convnet import ConvBackbone
from deta.models.backbones.swin import SwinBackbone
from deta.models.backbones.timm import TimmBackbone
from deta.models.backbones.torchvision import TorchvisionBackbone
from deta.models.body import Body
from deta.models.detector import Detector
from deta.models.input import InputConvention
from deta.models.necks.fpn import FPN
from deta.models.necks.levels import Neck
from deta.models.query.body import QueryBody
from deta.models.query.decoder import Decoder
from deta.models.query.encoder import Encoder
from deta.models.query.groups import QueryGroup
from deta.models.query.selection import Selection
from deta.models.query.sources import EncoderProposals, LearnedQueries, QuerySource
from deta.models.query.tokens import FeatureTokens, Queries

__all__ = [
    "FPN",
    "Backbone",
    "Body",
    "ConvBackbone",
    "Decoder",
    "Detector",
    "Encoder",
    "EncoderProposals",
    "FeatureTokens",
    "InputConvention",
    "LearnedQueries",
    "Neck",
    "Queries",
    "QueryBody",
    "QueryGroup",
    "QuerySource",
    "Selection",
    "SwinBackbone",
    "TimmBackbone",
    "TorchvisionBackbone",
]
