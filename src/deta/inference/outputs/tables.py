"""All results in one file: JSON with class names, JSON lines, COCO's results, CSV."""

import csv
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from deta.inference.outputs.base import Output
from deta.inference.results import Result
from deta.utils.files import replacing
from deta.utils.names import csv_row
from deta.utils.wording import counted

_COLUMNS = ("image", "frame", "seconds", "name", "category_id", "score", "x0", "y0", "x1", "y1")


class _OneFile(Output):
    """A file that takes its name when it is finished, unless it is read along."""

    file_name = ""
    is_read_once_whole = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / self.file_name
        self._stack = ExitStack()
        place = self._stack.enter_context(replacing(self.path)) if self.is_read_once_whole else self.path
        self.file: TextIO = self._stack.enter_context(place.open("w", encoding="utf-8", newline=""))
        self.num_rows = 0

    def close(self) -> str:
        """Give the file its name, and say how many detections it holds."""
        self._stack.close()
        return f"{counted(self.num_rows, 'detection')}: {self.path}"


class _JsonList(_OneFile):
    """One JSON list, written entry by entry."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._between = "["

    def append(self, entry: dict[str, Any]) -> None:
        self.file.write(f"{self._between}{json.dumps(entry, allow_nan=False)}")
        self._between = ",\n"

    def close(self) -> str:
        """End the list."""
        self.file.write("[]\n" if self._between == "[" else "]\n")
        return super().close()


class BoxJson(_JsonList):
    """``boxes.json``: a list of ``Result.to_dict``, one entry for each image."""

    file_name = "boxes.json"

    def add(self, result: Result, number: int) -> None:
        """Append the boxes with what is known of the image."""
        self.append(result.to_dict())
        self.num_rows += len(result)


class CocoJson(_JsonList):
    """``predictions.json``: COCO's result file with the name of each image; ids count the images from 1."""

    file_name = "predictions.json"

    def add(self, result: Result, number: int) -> None:
        """Append a record for each box."""
        for record in result.to_coco(number):
            self.append({**record, "file_name": result.name})
        self.num_rows += len(result)


class BoxLines(_OneFile):
    """``boxes.jsonl``: a line for each image as soon as it was looked at, for programs that read along."""

    file_name = "boxes.jsonl"
    is_read_once_whole = False

    def add(self, result: Result, number: int) -> None:
        """Append a line, and let who reads along have it."""
        self.file.write(f"{json.dumps(result.to_dict(), allow_nan=False)}\n")
        self.file.flush()
        self.num_rows += len(result)


class BoxTable(_OneFile):
    """``boxes.csv``: a row for each detection, corners in pixels."""

    file_name = "boxes.csv"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._writer = csv.writer(self.file)
        self._writer.writerow(_COLUMNS)

    def add(self, result: Result, number: int) -> None:
        """Append a row for each box."""
        picture = result.picture
        for box in result:
            place = (result.name, picture.frame, picture.seconds)
            self._writer.writerow(csv_row((*place, box.name, box.category_id, box.score, *box.xyxy)))
        self.num_rows += len(result)
