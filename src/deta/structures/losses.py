"""What the criterion returns for a batch."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from deta.structures.matches import Matches


@dataclass(frozen=True)
class Losses:
    """Losses of a batch and the assignments behind them.

    Attributes:
        total: Weighted sum of ``terms``, the scalar to minimise.
        terms: Scalars before weighting, by name: ``layer3/giou``, ``proposals/class``.
        matches: Assignment of every stage, by name: ``layer3``, ``proposals``; one object where stages share it.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    matches: Mapping[str, Matches]

    def assignments(self) -> dict[str, str]:
        """Every assignment that was made: the name under which it is reported to the first stage that it serves.

        The one of the last decoder layer is ``layers``, ``<group>/layers`` in a further query group. Where every
        layer is assigned anew, those of the others keep the names of their layers, such as ``layer0``.
        """
        last: dict[str, str] = {}
        for stage in self.matches:
            group, _, layer = stage.rpartition("/")
            if layer.startswith("layer"):
                last[f"{group}/layers" if group else "layers"] = stage
        first: dict[int, str] = {}
        for stage, matches in self.matches.items():
            first.setdefault(id(matches), stage)
        reported = {id(self.matches[stage]): name for name, stage in last.items()}
        return {reported.get(identity, stage): stage for identity, stage in first.items()}
