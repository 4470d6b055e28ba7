"""The values among which a search looks for good ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deta.utils.checks import require_bool, require_number

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = str | float | int | bool | None
"""What a configuration key can be set to."""
_RANGE = ("low", "high", "step", "log")


@dataclass(frozen=True)
class Parameter:
    """One configuration key and the values that it may take: some choices, or a range.

    Attributes:
        key: Dotted name, such as ``criterion.rules.layers.assigner.tau``.
        choices: Values without an order; empty for a range.
        low: Least value; integers where low, high and step are all integers.
        high: Greatest value.
        step: Distance of two values; None is 1 for integers and none for other numbers.
        is_log: Whether the logarithm is searched; then ``step`` is None.
    """

    key: str
    choices: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    is_log: bool = False

    @classmethod
    def from_content(cls, key: str, content: object) -> "Parameter":
        """Read ``{choices: [...]}`` or ``{low: , high: , step: , log: }``, the last two optional.

        Raises:
            ValueError: It is neither, or the range is empty.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"search.parameters: {key} must have choices, or low and high, got {content!r}")
        if set(content) == {"choices"} and isinstance(content["choices"], list) and content["choices"]:
            return cls(key, tuple(content["choices"]))
        if not {"low", "high"} <= set(content) <= set(_RANGE):
            raise ValueError(
                f"search.parameters: {key} must have choices (a list with a value), or low, high and perhaps step and "
                f"log, got {', '.join(map(str, content)) or 'nothing'}"
            )
        return cls._from_range(key, content)

    @classmethod
    def _from_range(cls, key: str, content: Mapping[str, Any]) -> "Parameter":
        numbers = {name: content.get(name) for name in ("low", "high", "step")}
        for name, number in numbers.items():
            if number is not None:
                require_number(f"search.parameters: {key}.{name}", number)
        low, high, step = numbers.values()
        assert low is not None
        assert high is not None
        is_log = require_bool(f"search.parameters: {key}.log", content.get("log", False))
        if low >= high or (step is not None and step <= 0):
            raise ValueError(f"search.parameters: {key} must have low < high and step > 0, got {dict(content)}")
        if is_log and (low <= 0 or step is not None):
            raise ValueError(f"search.parameters: {key} with log must have low > 0 and no step, got {dict(content)}")
        return cls(key, low=low, high=high, step=step, is_log=is_log)

    def suggest(self, trial: "Trial") -> Value:
        """The value of this trial; of a trial that already has one, that one."""
        if self.choices:
            chosen: Value = trial.suggest_categorical(self.key, self.choices)
            return chosen
        if all(isinstance(number, int) for number in (self.low, self.high, self.step or 1)):
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.is_log)
        number = trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.is_log)
        return float(f"{number:.12g}")  # 0.6, not 0.6000000000000001


def as_override(key: str, value: Value) -> str:
    """The word of a command line that sets a key."""
    if value is None:
        return f"{key}=null"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"
