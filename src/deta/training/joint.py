"""Two optimizers as one, each of parts of a model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from deta.utils.checks import require_callable, require_list, require_number

Make = Callable[[list[dict[str, Any]]], Optimizer]
"""Makes an optimizer of groups of parameters."""


class JointOptimizer(Optimizer):
    """Some parts of a model have an optimizer of their own, and all else another one.

    Groups and states of both are those of the whole: to schedules, scalers of gradients and checkpoints it is one.

    Source: arXiv:2011.10881 (TSP-RCNN), whose release trains the layers of attention with AdamW and all else with SGD.

    Args:
        groups: Of ``parameter_groups``, whose names tell the part.
        parts: Entries of ``optimizer.lr_factors`` whose parameters ``own`` trains, at least one.
        own: Makes their optimizer.
        rest: Makes that of all others.
        max_norm: Largest norm of all gradients of ``parts`` together, above 0; None clips nothing.

    Raises:
        ValueError: A part has no parameters, or a value lies outside its range.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        parts: Sequence[str],
        own: Make,
        rest: Make,
        max_norm: float | None = None,
    ) -> None:
        groups = list(groups)
        self._parts = frozenset(map(str, require_list("optimizer.make.parts", parts)))
        absent = sorted(self._parts - {_part(group) for group in groups})
        if absent or not self._parts:
            raise ValueError(
                "optimizer.make.parts must be entries of optimizer.lr_factors that name components of trained "
                f"parameters, got {absent[0] if absent else 'none'}: leave it out, or choose another optimizer"
            )
        if max_norm is not None and require_number("optimizer.make.max_norm", max_norm, low=0) == 0:
            raise ValueError("optimizer.make.max_norm must be above 0, or null for no clipping, got 0")
        self._max_norm = max_norm
        require_callable("optimizer.make.own", own)
        require_callable("optimizer.make.rest", rest)
        self._own = own([group for group in groups if self._is_own(group)])
        self._rest = rest([group for group in groups if not self._is_own(group)])
        super().__init__(groups, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the optimizer of its part."""
        defaults = (self._own if self._is_own(param_group) else self._rest).defaults
        param_group.update({name: value for name, value in defaults.items() if name not in param_group})
        super().add_param_group(param_group)
        self._share()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the states and settings of both."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401 - as torch
        """Step with both, after ``closure`` has computed the gradients; returns what that does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._max_norm is not None:
            clip_grad_norm_([each for group in self._own.param_groups for each in group["params"]], self._max_norm)
        self._own.step()
        self._rest.step()
        return loss

    def _share(self) -> None:
        """Let both have the groups and states of the whole."""
        self._own.param_groups = [group for group in self.param_groups if self._is_own(group)]
        self._rest.param_groups = [group for group in self.param_groups if not self._is_own(group)]
        self._own.state = self._rest.state = self.state

    def _is_own(self, group: Mapping[str, Any]) -> bool:
        return _part(group) in self._parts


def _part(group: Mapping[str, Any]) -> str:
    """The entry of ``optimizer.lr_factors`` of which a group is."""
    return str(group["name"]).partition("/")[0]
