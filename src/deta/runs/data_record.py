"""The data set of a run, on record in its directory; nothing here needs PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

from deta.data.fingerprint import DataFingerprint
from deta.utils.files import read_json, write_json

DATA = "data.json"
SPLITS: Final[tuple[Literal["train"], Literal["val"]]] = ("train", "val")


@dataclass(frozen=True)
class DataRecord:
    """Content and place of the data of a run; two are equal if the content is.

    Attributes:
        splits: Fingerprint of ``train`` and ``val``.
        places: Annotation file of each; none of generated data.
    """

    splits: Mapping[str, DataFingerprint]
    places: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return "; ".join(f"{name} {self._describe(name)}" for name in SPLITS)

    @property
    def digest(self) -> str:
        """A short name of the content."""
        return "-".join(self.splits[name].digest[:8] for name in SPLITS)

    def to_dict(self) -> dict[str, Any]:
        """Its content as JSON can hold it."""
        return {name: {**self.splits[name].to_dict(), "place": self.places.get(name)} for name in SPLITS}

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """Rebuild from what ``to_dict`` gave.

        Raises:
            ValueError: It is something else.
        """
        if not isinstance(content, Mapping) or not all(isinstance(content.get(name), Mapping) for name in SPLITS):
            raise ValueError(f"a record of data has the keys {', '.join(SPLITS)}, got {content!r}")
        places = {name: content[name].get("place") for name in SPLITS}
        fields = {name: {key: content[name][key] for key in content[name] if key != "place"} for name in SPLITS}
        return cls(
            {name: DataFingerprint.from_dict(fields[name]) for name in SPLITS},
            {name: str(place) for name, place in places.items() if place is not None},
        )

    def differences(self, other: Self) -> str:
        """Both data sets by name and counts, for every split in which ``other`` has another content; else empty."""
        return "; ".join(
            f"{name} {self._describe(name)}, not {other._describe(name)}: "
            f"{self.splits[name].differences(other.splits[name])}"
            for name in SPLITS
            if self.splits[name] != other.splits[name]
        )

    def _describe(self, name: str) -> str:
        place = self.places.get(name)
        return str(self.splits[name]) if place is None else str(Path(place).parent / str(self.splits[name]))


def write_data(folder: Path, record: DataRecord) -> None:
    """Write ``data.json`` of a run."""
    write_json(folder / DATA, record.to_dict())


def read_data(folder: Path) -> DataRecord | None:
    """The data set with which a run has trained; None if it has no record of it.

    Raises:
        ValueError: The record is damaged.
    """
    path = folder / DATA
    if not path.is_file():
        return None
    try:
        return DataRecord.from_dict(read_json(path, dict[str, Any]))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it to go on without a comparison of data") from error
