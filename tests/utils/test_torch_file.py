"""Files of PyTorch, whole and damaged, honest and hostile."""

import argparse
import collections
import datetime
import enum
import io
import os
import pickle
import random
import struct
import sys
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from deta.utils.torch_file import read_torch_file


class Colour(enum.Enum):
    """A kind of value that programs store beside weights."""

    RED = 1


def plain_content() -> dict[str, Any]:
    """What our own checkpoints may hold."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(4, 6, generator=generator)
    return {
        "float": table,
        "view": table.t()[1:3],
        "half": table.half(),
        "brain": table.bfloat16(),
        "double": table.double(),
        "long": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "complex": torch.complex(table, table),
        "unsigned": torch.tensor([1, 65535], dtype=torch.uint16),
        "eighth": table.to(torch.float8_e4m3fn),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.ones(2)),
        "plain": [None, True, -1, 2**70, 0.5, float("inf"), "text", b"bytes", 1j, (1, (2,)), {1, 2}, {3: "x"}],
        "counter": collections.Counter({10: 1}),
        "ordered": collections.OrderedDict(b=1, a=2),
        "size": torch.Size([1, 2]),
        "type": torch.float32,
        "device": torch.device("cpu"),
    }


def is_same(first: Any, second: Any) -> bool:  # noqa: ANN401 - any content
    """Whether two contents are equal, bit by bit in tensors."""
    if isinstance(first, Tensor):
        same_kind = isinstance(second, Tensor) and first.dtype == second.dtype and first.shape == second.shape
        return same_kind and bytes_of(first) == bytes_of(second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and list(first) == list(second)
            and all(is_same(first[k], second[k]) for k in first)
        )
    if isinstance(first, (list, tuple)):
        return type(first) is type(second) and len(first) == len(second) and all(map(is_same, first, second))
    return type(first) is type(second) and bool(first == second)


def bytes_of(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_everything_plain_is_read_as_it_was_saved(tmp_path: Path, is_zip: bool) -> None:
    content = plain_content()
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    file = read_torch_file(tmp_path / "a.pt", is_published=not is_zip)
    assert file.skipped == ()
    assert file.content["view"].data_ptr() == file.content["float"].data_ptr() + 4  # one storage, as it was saved
    expected = {**content, "parameter": content["parameter"].detach()}
    assert is_same(file.content, expected)


def test_versions_of_modules_come_with_their_state(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    state = read_torch_file(tmp_path / "a.pt").content
    assert state._metadata == module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles_is_read(tmp_path: Path, protocol: int) -> None:
    content = {"a": torch.ones(2), "text": "x" * 300, "number": 2**40, "bytes": b"1"}
    torch.save(content, tmp_path / "a.pt", pickle_protocol=protocol)
    assert is_same(read_torch_file(tmp_path / "a.pt").content, content)


HARMLESS: dict[str, Any] = {
    "numpy scalar": np.float64(0.5),
    "numpy bool": np.bool_(True),
    "numpy array": np.arange(3),
    "numpy type": np.dtype("f4"),
    "numpy state": np.random.get_state(),  # noqa: NPY002 - a kind of value that is stored
    "path": Path("a", "b"),
    "pure path": PurePosixPath("a"),
    "namespace": argparse.Namespace(lr=1e-4, out=Path("a")),
    "time": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "date": datetime.date(2020, 1, 1),
    "duration": datetime.timedelta(1),
    "configuration": OmegaConf.create({"a": [1, {"b": "${a}"}]}),
    "enum": Colour.RED,
    "default dictionary": collections.defaultdict(int, {1: 2}),
    "deque": collections.deque([1, 2]),
    "frozen set": frozenset([1]),
    "range": range(3),
    "slice": slice(1, 2),
    "decimal": Decimal(1),
    "identity": uuid.UUID(int=1),
}


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_harmless_value_beside_published_weights_is_skipped_by_name(tmp_path: Path, kind: str, is_zip: bool) -> None:
    content = {"before": 1, "other": {"deep": [HARMLESS[kind]]}, "model": {"a": torch.ones(2)}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    file = read_torch_file(tmp_path / "a.pth", is_published=True)
    assert is_same(file.content["model"], content["model"])
    assert file.content["before"] == 1
    assert file.skipped
    if is_zip:
        with pytest.raises(ValueError, match=r"a.pth cannot be read .*more than plain data \(it names "):
            read_torch_file(tmp_path / "a.pth")


class Call:
    """Calls something when it is unpickled by a careless reader."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def touch(path: str) -> None:
    """Stands for a function of some package."""
    Path(path).touch()


PROGRAMS = {
    "mkdir": Call(os.mkdir, "MARK"),
    "system": Call(os.system, "touch MARK"),
    "open": Call(open, "MARK", "w"),
    "eval": Call(eval, "open('MARK', 'w')"),
    "exec": Call(exec, "open('MARK', 'w')"),
    "getattr": Call(getattr, Path("MARK"), "touch"),
    "method": Call(Path.touch, Path("MARK")),
    "import": Call(__import__, "antigravity"),
    "torch.load": Call(torch.load, "MARK"),
    "torch.save": Call(torch.save, 1, "MARK"),
    "function": Call(touch, "MARK"),
    "inside a skipped value": argparse.Namespace(a=Call(touch, "MARK")),
    "encode": Call(__import__("_codecs").encode, "x", "rot13"),
    "bytearray": Call(bytearray, 10**13),
    "tensor": Call(torch.Tensor, 10**6),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_program_is_refused_and_leaves_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"model": {"a": torch.ones(2)}, "x": PROGRAMS[name]}
    if form == "pickle":
        Path("a.pth").write_bytes(pickle.dumps(PROGRAMS[name], protocol=protocol))
    else:
        torch.save(content, "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    for is_published in (True, False):
        with pytest.raises(ValueError, match=r"a.pth cannot be read"):
            read_torch_file(Path("a.pth"), is_published=is_published)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2).to_sparse(),
        torch.ones(2, device="meta"),
    ],
    ids=["sparse", "meta"],
)
def test_a_tensor_without_plain_numbers_is_refused(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"a": tensor}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt cannot be read"):
        read_torch_file(tmp_path / "a.pt", is_published=True)


OTHER_FORMATS = {
    "empty": (b"", "it is empty"),
    "text": (b"epoch: 3\nweights: none\n" * 30, "not in PyTorch's zip format"),
    "short text": (b"no", "not in PyTorch's zip format"),
    "zeros": (bytes(5000), "it holds zeros"),
    "json": (b'{"a": 1}', "not in PyTorch's zip format"),
    "tar": (bytes(257) + b"ustar" + bytes(500), "it is a tar file"),
    "half a zip": (b"PK\x03\x04" + bytes(100), "cut off"),
    "utf-16": (("text" * 100).encode("utf-16"), "not in PyTorch's zip format"),
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
@pytest.mark.parametrize("is_published", [True, False])
def test_a_file_of_another_format_is_named_with_what_it_looks_like(
    tmp_path: Path, name: str, is_published: bool
) -> None:
    content, reason = OTHER_FORMATS[name]
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.ckpt cannot be read as a checkpoint") as refusal:
        read_torch_file(tmp_path / "a.ckpt", is_published=is_published)
    assert is_published or reason in str(refusal.value)


def rewritten(
    source: Path,
    target: Path,
    *,
    compression: int = zipfile.ZIP_STORED,
    changes: Mapping[str, bytes | None] | None = None,
) -> None:
    """A copy of an archive with other records, by the last part of their names; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            content = (changes or {}).get(name.rpartition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.pt"
    torch.save({"a": torch.arange(100.0)}, path)
    return path


def test_a_compressed_archive_is_refused_before_it_is_inflated(saved: Path, tmp_path: Path) -> None:
    rewritten(saved, tmp_path / "bomb.pt", compression=zipfile.ZIP_DEFLATED, changes={"0": bytes(10**8)})
    assert (tmp_path / "bomb.pt").stat().st_size < 10**6
    with pytest.raises(ValueError, match=r"bomb.pt .*records are larger than the file"):
        read_torch_file(tmp_path / "bomb.pt")
    rewritten(saved, tmp_path / "packed.pt", compression=zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"packed.pt .*compressed or encrypted, which PyTorch never does"):
        read_torch_file(tmp_path / "packed.pt")


def test_records_that_are_missing_or_of_another_size_are_refused(saved: Path, tmp_path: Path) -> None:
    changes: list[dict[str, bytes | None]] = [{"0": None}, {"0": bytes(396)}, {"byteorder": b"big"}, {"data.pkl": b""}]
    for change in changes:
        rewritten(saved, tmp_path / "a.pt", changes=change)
        with pytest.raises(ValueError, match=r"a.pt cannot be read"):
            read_torch_file(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(ValueError, match=r"other.pt .*it is no file of PyTorch"):
        read_torch_file(tmp_path / "other.pt")


def described(offset: object, size: object, stride: object) -> bytes:
    """A pickle of one tensor of 100 numbers, described in this way."""

    class Described:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, {})

    storage = torch.arange(100.0)._typed_storage()
    buffer = io.BytesIO()
    torch.save({"a": Described()}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (101,), (1,)),
        (1, (100,), (1,)),
        (0, (10, 11), (10, 1)),
        (0, (-1,), (1,)),
        (0, (5,), (-1,)),
        (-1, (5,), (1,)),
        (0, (10**15,), (0,)),
        (0, (10**6, 10**6), (0, 0)),
        (0, (2.0,), (1,)),
        (0, (float("inf"),), (1,)),
        (0, (2, 2), (1,)),
        (0, (True,), (1,)),
        (0, None, (1,)),
        (2**70, (1,), (1,)),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(
    tmp_path: Path, offset: object, size: object, stride: object
) -> None:
    (tmp_path / "a.pt").write_bytes(described(offset, size, stride))
    with pytest.raises(ValueError, match=r"a.pt cannot be read"):
        read_torch_file(tmp_path / "a.pt")


def test_random_pickles_end_in_one_message(tmp_path: Path) -> None:
    opcodes = [value for name, value in vars(pickle).items() if name.isupper() and isinstance(value, bytes)]
    path = tmp_path / "a.pt"
    for seed in range(300):
        choose = random.Random(seed)
        parts = [choose.choice(opcodes) + choose.randbytes(choose.choice((0, 0, 1, 4, 9))) for _ in range(30)]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + b"".join(parts) + b".")
        for is_published in (True, False):
            try:
                read_torch_file(path, is_published=is_published)
            except ValueError as error:
                assert str(error).startswith(f"{path} cannot be read as a checkpoint")  # noqa: PT017 - most, not all


def test_any_flipped_bit_is_noticed_or_without_effect(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    expected = {"a": torch.arange(100.0)}
    choose = random.Random(1)
    num_noticed = 0
    for position in choose.sample(range(len(content) * 8), 700):
        content[position // 8] ^= 1 << position % 8
        saved.write_bytes(content)
        try:
            assert is_same(read_torch_file(saved).content, expected), position
        except ValueError:
            num_noticed += 1
        content[position // 8] ^= 1 << position % 8
    in_numbers = 400 / len(content)
    assert num_noticed > 0.7 * in_numbers * 700


def test_the_checksum_is_that_of_what_is_read(saved: Path) -> None:
    content = saved.read_bytes()
    numbers = torch.arange(100.0).numpy().tobytes()
    other = torch.arange(1, 101.0).numpy().tobytes()
    assert content.count(numbers) == 1
    saved.write_bytes(content.replace(numbers, other))
    with pytest.raises(ValueError, match=r"saved.pt .*record data/0 is not what was written: its checksum differs"):
        read_torch_file(saved)
    checksum = struct.pack("<I", zlib.crc32(numbers))
    saved.write_bytes(content.replace(numbers, other).replace(checksum, struct.pack("<I", zlib.crc32(other))))
    assert torch.equal(read_torch_file(saved).content["a"], torch.arange(1, 101.0))
