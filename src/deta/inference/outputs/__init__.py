"""Files that results are written to, one result after the other."""

from collections.abc import Mapping

from deta.inference.outputs.base import Output
from deta.inference.outputs.drawn import DrawnPictures, DrawnVideo
from deta.inference.outputs.files import Crops, YoloText
from deta.inference.outputs.tables import BoxJson, BoxLines, BoxTable, CocoJson

KINDS: Mapping[str, type[Output]] = {
    "json": BoxJson,
    "jsonl": BoxLines,
    "coco": CocoJson,
    "csv": BoxTable,
    "yolo": YoloText,
    "crops": Crops,
}
"""Made with the folder that they write to."""

__all__ = [
    "KINDS",
    "BoxJson",
    "BoxLines",
    "BoxTable",
    "CocoJson",
    "Crops",
    "DrawnPictures",
    "DrawnVideo",
    "Output",
    "YoloText",
]
