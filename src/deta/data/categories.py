"""The classes of a data set: ids of the annotation file and contiguous class indexes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Categories:
    """Category ids and names; the position in these tuples is the class index of the model.

    Attributes:
        ids: Category ids as in the annotation file, ascending; gaps are allowed.
        names: Name of each category.

    Raises:
        ValueError: If there is no category, the lengths differ, or the ids do not ascend.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.ids or len(self.ids) != len(self.names):
            raise ValueError(
                "categories need at least one id and as many names as ids, "
                f"got {len(self.ids)} ids and {len(self.names)} names"
            )
        if any(second <= first for first, second in zip(self.ids, self.ids[1:], strict=False)):
            raise ValueError(f"category ids must ascend without duplicates, got {self.ids}")

    def __len__(self) -> int:
        return len(self.ids)

    def state_dict(self) -> dict[str, list[int] | list[str]]:
        """Ids and names as plain lists, for a checkpoint."""
        return {"ids": list(self.ids), "names": list(self.names)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Sequence[int] | Sequence[str]]) -> Self:
        """Rebuild from what ``state_dict`` gave."""
        return cls(
            ids=tuple(int(value) for value in state["ids"]),
            names=tuple(str(value) for value in state["names"]),
        )

    def require_same(self, other: Self, *, source: str) -> None:
        """Raise ``ValueError`` unless ``other``, the list found in ``source``, has the same ids and names."""
        if self == other:
            return
        own, found = (
            dict(zip(self.ids, self.names, strict=True)),
            dict(zip(other.ids, other.names, strict=True)),
        )
        missing = [f"{key} {own[key]!r}" for key in own if key not in found]
        unknown = [f"{key} {found[key]!r}" for key in found if key not in own]
        renamed = [f"{key} {found[key]!r} for {own[key]!r}" for key in own if found.get(key, own[key]) != own[key]]
        differences = "; ".join(
            f"{kind} {', '.join(items[:5])}{' ...' if len(items) > 5 else ''}"
            for kind, items in (("missing", missing), ("unknown", unknown), ("renamed", renamed))
            if items
        )
        raise ValueError(
            f"{source} has other categories than those that the class indexes stand for ({differences}); "
            "use the same category list in every split, as the model was trained with"
        )
