"""Detecting objects in images, wherever they come from, and writing down what was found."""

from deta.inference.pictures import Picture, given_picture, picture_of_file
from deta.inference.predictor import Predictor
from deta.inference.results import Box, Result
from deta.inference.sources import Source, SourceOptions, open_source

__all__ = [
    "Box",
    "Picture",
    "Predictor",
    "Result",
    "Source",
    "SourceOptions",
    "given_picture",
    "open_source",
    "picture_of_file",
]
