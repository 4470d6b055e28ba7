"""The detector and its parts."""

from deta.models.backbones.backbone import Backbone
from deta.models.backbones.convnet import ConvBackbone
from deta.models.backbones.darknet import DarknetBackbone
from deta.models.backbones.swin import SwinBackbone
from deta.models.backbones.timm import TimmBackbone
from deta.models.backbones.torchvision import TorchvisionBackbone
from deta.models.body import Body
from deta.models.dense.aligned_head import AlignedHead
from deta.models.dense.apart_head import ApartHead
from deta.models.dense.base import HeadShape, LevelHead
from deta.models.dense.body import DenseBody
from deta.models.dense.centre_head import CentreHead
from deta.models.dense.codecs import CentreCodec, DeltaCodec, DistanceCodec, DistributionCodec
from deta.models.dense.decoupled_head import DecoupledHead
from deta.models.dense.head import DenseHead
from deta.models.dense.joint_head import JointHead
from deta.models.dense.priors import GridPriors
from deta.models.detector import Detector
from deta.models.input import InputConvention
from deta.models.necks.deconv import DeconvNeck
from deta.models.necks.fpn import FPN
from deta.models.necks.levels import Neck
from deta.models.necks.pafpn import PAFPN
from deta.models.query.body import QueryBody
from deta.models.query.conditional_decoder import ConditionalDecoder
from deta.models.query.decoder import Decoder, QueryDecoder
from deta.models.query.denoising import ContrastiveDenoisingQueries, DenoisingQueries
from deta.models.query.dense_decoder import DenseDecoder
from deta.models.query.dense_encoder import DenseEncoder
from deta.models.query.encoder import Encoder, QueryEncoder
from deta.models.query.fqdet import AnchorDecoder, FQDetBody
from deta.models.query.fqdet_source import AnchorQueries
from deta.models.query.groups import FurtherQueries, QueryGroup
from deta.models.query.heads import PredictionHead
from deta.models.query.labels import LabelEmbedding
from deta.models.query.proposals import DecreasingCount, EncoderProposals
from deta.models.query.selection import Selection
from deta.models.query.sources import LearnedBoxes, LearnedQueries, QuerySource
from deta.models.query.tokens import FeatureTokens, Queries
from deta.models.region import Region
from deta.models.roi.body import RoIBody
from deta.models.roi.head import RegionHead
from deta.models.roi.pooling import RegionPooling
from deta.models.roi.proposals import ProposalSelection
from deta.models.roi.sampler import RegionSampler
from deta.models.roi.transformer_head import TransformerRegionHead

__all__ = [
    "FPN",
    "PAFPN",
    "AlignedHead",
    "AnchorDecoder",
    "AnchorQueries",
    "ApartHead",
    "Backbone",
    "Body",
    "CentreCodec",
    "CentreHead",
    "ConditionalDecoder",
    "ContrastiveDenoisingQueries",
    "ConvBackbone",
    "DarknetBackbone",
    "Decoder",
    "DeconvNeck",
    "DecoupledHead",
    "DecreasingCount",
    "DeltaCodec",
    "DenoisingQueries",
    "DenseBody",
    "DenseDecoder",
    "DenseEncoder",
    "DenseHead",
    "Detector",
    "DistanceCodec",
    "DistributionCodec",
    "Encoder",
    "EncoderProposals",
    "FQDetBody",
    "FeatureTokens",
    "FurtherQueries",
    "GridPriors",
    "HeadShape",
    "InputConvention",
    "JointHead",
    "LabelEmbedding",
    "LearnedBoxes",
    "LearnedQueries",
    "LevelHead",
    "Neck",
    "PredictionHead",
    "ProposalSelection",
    "Queries",
    "QueryBody",
    "QueryDecoder",
    "QueryEncoder",
    "QueryGroup",
    "QuerySource",
    "Region",
    "RegionHead",
    "RegionPooling",
    "RegionSampler",
    "RoIBody",
    "Selection",
    "SwinBackbone",
    "TimmBackbone",
    "TorchvisionBackbone",
    "TransformerRegionHead",
]
