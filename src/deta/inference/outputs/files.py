"""Files of their own for each image: labels as YOLO reads them, and what the boxes hold."""

from pathlib import Path

from deta.drawing.boxes import from_pil, save_picture
from deta.inference.addresses import safe_stem
from deta.inference.outputs.base import Output, Stems
from deta.inference.results import Result
from deta.utils.files import write_text
from deta.utils.names import shown
from deta.utils.wording import counted


class YoloText(Output):
    """``labels/<image>.txt``: class, centre, width and height relative to the image, and score; ``classes.txt``.

    An image without a detection has an empty file.
    """

    subfolder = "labels"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._labels = folder / self.subfolder
        self._stems, self._num_files = Stems(), 0

    def add(self, result: Result, number: int) -> None:
        """Write a file, empty where nothing was found; the names of the classes go beside, once."""
        self._labels.mkdir(exist_ok=True)
        if not self._num_files:
            write_text(self.folder / "classes.txt", "".join(f"{shown(name)}\n" for name in result.names))
        height, width = result.size
        lines = []
        for box in result:
            left, top, box_width, box_height = box.xywh
            centre = ((left + box_width / 2) / width, (top + box_height / 2) / height)
            values = (*centre, box_width / width, box_height / height, box.score)
            lines.append(" ".join([str(box.label), *(f"{value:.6f}" for value in values)]))
        write_text(self._labels / f"{self._stems.of(result, number)}.txt", "".join(f"{line}\n" for line in lines))
        self._num_files += 1

    def close(self) -> str:
        """How many files, and where."""
        return f"{counted(self._num_files, 'file')} of labels: {self._labels}" if self._num_files else ""


class Crops(Output):
    """``crops/<class>/<image>_<number>.jpg``: what every box holds, numbered from 1, the best first."""

    subfolder = "crops"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stems, self._num_files = Stems(), 0

    def add(self, result: Result, number: int) -> None:
        """Write a picture for each box."""
        stem = self._stems.of(result, number)
        for index, (box, crop) in enumerate(zip(result, result.crops(), strict=True), 1):
            # Names of classes come out of a file that somebody else may have written.
            folder = self.folder / self.subfolder / f"{box.label}_{safe_stem(box.name)}"
            folder.mkdir(parents=True, exist_ok=True)
            save_picture(from_pil(crop), folder / f"{stem}_{index}.jpg")
            self._num_files += 1

    def close(self) -> str:
        """How many crops, and where."""
        return f"{counted(self._num_files, 'crop')}: {self.folder / self.subfolder}" if self._num_files else ""
