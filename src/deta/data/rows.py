"""Rows of a JSON list, decoded one by one into a type; the faults of a row are named all together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from deta.data.problems import Problems

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer of 64 bits; neither a truth value nor 1.0."""
Number = Annotated[float, Meta(gt=-1e9, lt=1e9)]
"""A believable coordinate, in pixels."""
_Row = TypeVar("_Row", bound=Struct)
_SHOWN = 100
"""Bytes of a faulty value that a message shows."""


class RowReader(Generic[_Row]):
    """Decodes rows; those with a fault are left out and explained.

    Args:
        row: Its fields are the keys that are wanted, with the types that they must have; other keys are skipped.
        what: A row in messages, such as ``annotation``.
        rules: For every field: what its value is if it is not as it must be, such as ``id is not an integer``.
        problems: Collects the faults.
        max_bytes: Longest row; None where what is long in it is skipped without being decoded.

    Attributes:
        suspects: For every row that was left out: those of its values that are as they must be.
    """

    def __init__(
        self,
        row: type[_Row],
        *,
        what: str,
        rules: Mapping[str, str],
        problems: Problems,
        max_bytes: int | None = 2**20,
    ) -> None:
        self._decoder = msgspec.json.Decoder(row)
        self._what, self._rules, self._problems = what, rules, problems
        self._max_bytes = max_bytes
        keys = msgspec.structs.fields(row)
        self._of_key = {key.name: msgspec.json.Decoder(key.type) for key in keys}
        self._required = {key.name for key in keys if key.required}
        self._as_text = msgspec.json.Decoder(
            msgspec.defstruct("_AsText", [(key.name, Raw, msgspec.field(default=Raw(b""))) for key in keys])
        )
        self.suspects: list[dict[str, Any]] = []

    def read(self, rows: Sequence[Raw]) -> Iterator[_Row]:
        """The rows without a fault, in order."""
        decode, max_bytes = self._decoder.decode, self._max_bytes
        for position, row in enumerate(rows):
            if max_bytes is not None and len(memoryview(row)) > max_bytes:
                self._problems.add(
                    f"{self._what} of more than {max_bytes:,} bytes", f"position {position}: {shown(row)}"
                )
                continue
            try:
                decoded = decode(row)
            except (ValueError, RecursionError):  # the library's errors, and those of text that is not UTF-8
                self._explain(position, row)
                continue
            yield decoded

    def _explain(self, position: int, row: Raw) -> None:
        try:
            texts = self._as_text.decode(row)
        except (ValueError, RecursionError):
            self._problems.add(f"{self._what} that is not an object", f"position {position}: {shown(row)}")
            return
        values, faults = {}, []
        for key, decoder in self._of_key.items():
            text: Raw = getattr(texts, key)
            is_given = len(memoryview(text)) > 0
            try:
                if is_given or key in self._required:
                    values[key] = decoder.decode(text)
            except (ValueError, RecursionError):
                faults.append((key, shown(text) if is_given else "missing"))
        name = f"{self._what} {values['id']}" if "id" in values else f"position {position}"
        for key, value in faults:
            self._problems.add(f"{self._what} whose {self._rules[key]}", f"{name}: {value}")
        self.suspects.append(values)


def shown(value: Raw) -> str:
    """A value as it stands in the file, cut where it is long."""
    text = bytes(memoryview(value)[:_SHOWN]).decode(errors="replace")
    return text if len(memoryview(value)) <= _SHOWN else f"{text}... ({len(memoryview(value))} bytes)"
