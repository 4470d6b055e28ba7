"""Where the encoded images of a split come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from deta.data.coco import CocoAnnotations
from deta.data.files import path_inside, require_files


@dataclass(frozen=True)
class EncodedImage:
    """An image as it was stored.

    Attributes:
        name: What messages call it.
        file: Its path, or its content.
    """

    name: str
    file: Path | BinaryIO


class ImageSource(Protocol):
    """The images of a data set by position; used in every worker process, in any order."""

    def open(self, index: int) -> EncodedImage:
        """The image at a position of the annotations that the source belongs to.

        Raises:
            ValueError: If its name leads out of the folder of the images.
        """
        ...


class Split(Protocol):
    """Annotation file and images of training or validation."""

    @property
    def annotation_file(self) -> Path:
        """A local file, there after ``prepare``."""
        ...

    def prepare(self) -> None:
        """Bring here what must be local before anything is read; once per machine."""
        ...

    def require_images(self, annotations: CocoAnnotations) -> None:
        """Raise ``OSError`` with count and first names unless every image is there."""
        ...

    def images(self, annotations: CocoAnnotations) -> ImageSource:
        """The images of all or some of the annotations of this split."""
        ...

    def shards(self, annotations: CocoAnnotations) -> NDArray[np.int64] | None:
        """``[N]`` which shard each image lies in, or None where images are single files."""
        ...


@dataclass(frozen=True)
class FolderImages:
    """Image files in a local folder.

    Attributes:
        annotations: Their names.
        folder: Where the names start.
        follow_links: Whether links in the folder may lead out of it.
    """

    annotations: CocoAnnotations
    folder: Path
    follow_links: bool = False

    def open(self, index: int) -> EncodedImage:
        """The file of the image, which lies inside of the folder."""
        name = self.annotations.file_name(index)
        path = path_inside(self.folder, name, follow_links=self.follow_links)
        return EncodedImage(name=str(self.folder / name), file=path)


@dataclass(frozen=True)
class FolderSplit:
    """A split as single files.

    Attributes:
        annotation_file: JSON in COCO's instance layout.
        folder: Where its file names start.
        follow_links: Whether links in the folder may lead out of it.
    """

    annotation_file: Path
    folder: Path
    follow_links: bool = False

    def prepare(self) -> None:
        """The files are local."""

    def require_images(self, annotations: CocoAnnotations) -> None:
        """Look for the file of every image."""
        require_files(annotations, self.folder)

    def images(self, annotations: CocoAnnotations) -> FolderImages:
        """Images by the file names of the annotations."""
        return FolderImages(annotations, self.folder, self.follow_links)

    def shards(self, annotations: CocoAnnotations) -> None:
        """Images are single files."""
