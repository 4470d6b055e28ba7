"""Reading a pickle of tensors and plain values: nothing that it names is imported or called.

The format is that of ``torch.save``: a pickle refers to storages by persistent ids, and to a few functions of PyTorch
that make tensors of them. Those are known here by name. Other names are an error, or stand for ``Skipped``.
"""

import collections
import math
import pickle
import struct
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # pickles of torch.save have the names of Python 2
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar

import torch
from torch import Tensor

MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)
"""What a pickle that is damaged, or made to do damage, raises in its reader, which meets nothing but the file."""
STORAGES: Mapping[str, torch.dtype] = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
    "UntypedStorage": torch.uint8,
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
_MAX_EXPANDED = 2**20
"""Elements of a tensor that repeats those of its storage."""
_VALUES_OF_PYTHON = frozenset(
    {
        *(f"builtins.{kind.__name__}" for kind in (bool, bytes, dict, float, int, list, str, tuple)),
        "argparse.Namespace",
        "builtins.frozenset",
        "builtins.object",
        "builtins.range",
        "builtins.slice",
        "collections.defaultdict",
        "collections.deque",
        "copyreg._reconstructor",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "types.SimpleNamespace",
        "uuid.UUID",
    }
)
"""Of Python's library, beside paths and types: no programs. Of other packages it is what is named as classes are."""

LoadStorage = Callable[[str, torch.dtype, int], Tensor]
"""Gives the flat tensor of a storage: its key, type, number of elements."""


class Skipped:
    """Stands for a value that is not read; whatever a pickle does to it leaves no trace."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        """Take an item of a list."""

    def extend(self, _: object) -> None:
        """Take the items of a list."""


class PlainUnpickler(pickle._Unpickler):
    """The pickle machine in Python, with a closed list of names.

    Args:
        file: At the beginning of a pickle.
        load_storage: Called for every persistent id; one key may come several times.
        skip_foreign: Let values of other kinds, such as paths and NumPy's scalars, be ``Skipped``.

    Attributes:
        skipped: Names of what was skipped.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        opcode: function
        for opcode, function in pickle._Unpickler.dispatch.items()
        if opcode not in pickle.ADDITEMS + pickle.BYTEARRAY8 + pickle.EXT1 + pickle.EXT2 + pickle.EXT4
    }

    def __init__(self, file: BinaryIO, load_storage: LoadStorage, *, skip_foreign: bool = False) -> None:
        super().__init__(file, encoding="latin1")
        self._load_storage = load_storage
        self._skip_foreign = skip_foreign
        self.skipped: set[str] = set()
        self._known: Mapping[str, Callable[..., Any]] = {
            "_codecs.encode": self._encode,
            "builtins.complex": self._complex,
            "builtins.set": self._set,
            "collections.Counter": self._counter,
            "collections.OrderedDict": self._ordered,
            "torch.Size": self._size,
            "torch.device": self._device,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._tensor_of_type,
        }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in pickle
        """What a name stands for: methods of this reader, types of PyTorch's numbers and storages, ``Skipped``.

        Raises:
            pickle.UnpicklingError: Anything else.
        """
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if full in self._known:
            return self._known[full]
        if module in _STORAGE_MODULES and name in STORAGES:
            return _StorageName(name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if self._skip_foreign and _is_value(full):
            self.skipped.add(full)
            return Skipped
        raise pickle.UnpicklingError(f"it names {full}")

    def load_build(self) -> None:
        """Give an object its state: of an ordered dictionary the versions of modules that PyTorch keeps there."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is collections.OrderedDict:
            versions = state.get("_metadata")
            if isinstance(versions, dict) and all(isinstance(version, dict) for version in versions.values()):
                target._metadata = versions  # type: ignore[attr-defined]  # PyTorch adds it
        elif not isinstance(target, Skipped):
            raise pickle.UnpicklingError(f"it changes {type(target).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 - out of a file
        """The storage that a persistent id names, as a flat tensor."""
        kind, storage, key, _, size, *view = pid
        is_known = kind == "storage" and isinstance(storage, _StorageName) and isinstance(key, str)
        if not is_known or view not in ([], [None]) or type(size) is not int or size < 0:
            raise pickle.UnpicklingError("it refers to a storage in a way that is not known")
        return self._load_storage(key, STORAGES[storage], size)

    def _tensor(self, flat: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:  # noqa: ANN401 - out of a file
        numbers = (offset, *size, *stride)
        if not isinstance(flat, Tensor) or len(size) != len(stride):
            raise pickle.UnpicklingError("it describes a tensor without a storage")
        if any(type(number) is not int or number < 0 for number in numbers):
            raise pickle.UnpicklingError(f"it describes a tensor of shape {tuple(size)}")
        length = math.prod(size)
        end = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) + 1 if length else offset
        if end > flat.numel() or length > max(flat.numel(), _MAX_EXPANDED):
            raise pickle.UnpicklingError(f"it describes a tensor of shape {tuple(size)} in {flat.numel()} elements")
        return flat.as_strided(size, stride, offset)

    def _tensor_of_type(
        self,
        raw: Any,  # noqa: ANN401 - out of a file, as all of these
        offset: Any,  # noqa: ANN401
        size: Any,  # noqa: ANN401
        stride: Any,  # noqa: ANN401
        requires_grad: object,
        hooks: object,
        dtype: Any,  # noqa: ANN401
        *_: object,
    ) -> Tensor:
        return self._tensor(raw.view(dtype), offset, size, stride)

    def _parameter(self, data: Any, *_: object) -> Tensor:  # noqa: ANN401 - out of a file
        if not isinstance(data, Tensor):
            raise pickle.UnpicklingError("it describes a parameter without a tensor")
        return data

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it encodes text as {encoding}")
        return text.encode(encoding)

    def _complex(self, real: float, imaginary: float) -> complex:
        return complex(real, imaginary)

    def _set(self, items: Sequence[Any] = ()) -> set[Any]:
        return set(items)

    def _counter(self, counts: Mapping[Any, int]) -> collections.Counter[Any]:
        return collections.Counter(dict(counts))

    def _ordered(self, items: Sequence[Any] = ()) -> collections.OrderedDict[Any, Any]:
        return collections.OrderedDict(items)

    def _size(self, sides: Sequence[int]) -> torch.Size:
        return torch.Size(sides)

    def _device(self, *place: Any) -> torch.device:  # noqa: ANN401 - out of a file
        return torch.device(*place)


class _StorageName(str):
    """The name of a class of storages; no text of a pickle is one."""

    __slots__ = ()


def _is_value(full: str) -> bool:
    """Whether a name stands for a value rather than a program."""
    root, *_, name = full.split(".")
    if root in sys.stdlib_module_names:
        return full in _VALUES_OF_PYTHON or (root in ("pathlib", "typing") and name[:1].isupper())
    if root == "numpy":
        return True
    return root not in ("torch", "deta") and name[:1].isupper() and name.isidentifier()
