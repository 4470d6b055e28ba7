"""The table of published weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec

from deta.utils.files import read_yaml
from deta.utils.names import nearest, shown

TABLE = Path(__file__).with_name("table.yaml")
_SYSTEM, _NUM_CLASSES, _TORCHVISION = "system=", "num_classes=", "torchvision:"


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    repository: str
    commit: str
    licence: str
    read_in: dict[str, str]


class _Weights(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    words: list[str]
    ap: float | None = None
    url: str | None = None
    file: str | None = None
    browser: bool = False
    size: str | None = None
    sha256: str | None = None
    note: str | None = None
    read_in: dict[str, str] = {}


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    sources: dict[str, _Source]
    weights: dict[str, _Weights]


@dataclass(frozen=True)
class Entry:
    """Published weights; what was read nowhere is None.

    Attributes:
        name: By which ``deta`` knows them.
        words: Overrides with which ``deta convert`` makes their model.
        repository: Of the publication.
        licence: Of the repository; none says more of its weights.
        ap: Average precision on COCO val2017 as published, points.
        url: Address of the file, or of a page where ``needs_browser``; ``torchvision:`` and the name of weights of
            torchvision, see ``address``.
        file_name: Of the file, where the address does not tell it.
        needs_browser: Whether a person has to fetch the file from a page.
        size: Of the file, as published.
        sha256: SHA-256 of the file in hexadecimal, or its first digits.
        note: What to take from the page.
        read_in: Where each of these facts was read, by its name.
    """

    name: str
    words: tuple[str, ...]
    repository: str
    licence: str
    ap: float | None = None
    url: str | None = None
    file_name: str | None = None
    needs_browser: bool = False
    size: str | None = None
    sha256: str | None = None
    note: str | None = None
    read_in: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of the file in a folder or on a mirror: as published, or its own where that is not known."""
        if self.file_name is not None:
            return self.file_name
        if self.url is None or self.needs_browser:
            return f"{self.name}.pth"
        return PurePosixPath(urlsplit(self.url).path).name

    def address(self) -> str | None:
        """``url``, for weights of torchvision the one that the installed package has, which is imported then."""
        if self.url is None or not self.url.startswith(_TORCHVISION):
            return self.url
        from torchvision.models import get_weight

        address: str = get_weight(self.url.removeprefix(_TORCHVISION)).url
        return address

    @property
    def system(self) -> str:
        """The system whose model it is."""
        return next(word.removeprefix(_SYSTEM) for word in self.words if word.startswith(_SYSTEM))

    @property
    def model_words(self) -> tuple[str, ...]:
        """``words`` without those that ``deta train`` does not take."""
        return tuple(word for word in self.words if not word.startswith(_NUM_CLASSES))


@cache
def entries() -> Mapping[str, Entry]:
    """All weights of the table by their names."""
    table = msgspec.convert(read_yaml(TABLE), _Table)
    return MappingProxyType(
        {name: _entry(name, each, table.sources[each.source]) for name, each in table.weights.items()}
    )


def is_name(text: object) -> bool:
    """Whether it names weights of the table."""
    return isinstance(text, str) and text in entries()


def entry(name: str) -> Entry:
    """The weights of that name.

    Raises:
        ValueError: There are none; the message names the nearest.
    """
    if is_name(name):
        return entries()[name]
    found = nearest(name, entries())
    meant = f"; did you mean {found}?" if found else ":"
    raise ValueError(f"there are no published weights named {shown(name)}{meant} deta weights list shows all names")


def _entry(name: str, weights: _Weights, source: _Source) -> Entry:
    facts = ("licence", *(fact for fact in ("ap", "url", "size", "sha256") if getattr(weights, fact) is not None))
    places = {**source.read_in, **weights.read_in}
    return Entry(
        name=name,
        words=tuple(weights.words),
        repository=source.repository,
        licence=source.licence,
        ap=weights.ap,
        url=weights.url,
        file_name=weights.file,
        needs_browser=weights.browser,
        size=weights.size,
        sha256=weights.sha256,
        note=weights.note,
        read_in=MappingProxyType({fact: _address(places[fact], source) for fact in facts}),
    )


def _address(place: str, source: _Source) -> str:
    """Of a file in the repository, at the commit that it names or else that of the source."""
    path, _, commit = place.partition("@")
    return f"{source.repository}/blob/{commit or source.commit}/{path}"
