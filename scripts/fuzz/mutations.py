"""Changes to sound inputs: of a tree of JSON, and of bytes."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

WEIRD: Sequence[Any] = (
    None, True, False, 0, -1, 1, 2, 1.0, 0.5, -0.0, "", " ", "\t", "1", "null", "\ud800", "a\x00b", "\u202egpj.exe",
    "../../etc/passwd", "/etc/passwd", "..\\..\\x", "~", "C:\\x.png", "${oc.env:HOME}", "=cmd|' /C calc'!A0", "\x1b[2J",
    "n" * 5000, "é" * 300, 2**31, 2**53, 2**63, -(2**63), 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"),
    float("-inf"), [], {}, [[]], [1], [None], {"a": 1}, [0, 0, 1, 1], "2020-01-01", [1e9] * 4,
)  # fmt: skip
"""Values that no field expects."""
_KEYS = ("id", "bbox", "area", "iscrowd", "category_id", "image_id", "file_name", "height", "width", "name", "x", "")


def change_tree(tree: Any, random: Random) -> str:  # noqa: ANN401 - any JSON
    """Change one place of a tree where it stands; says what was done."""
    places = list(_places(tree))
    container, key, path = random.choice(places)
    action = random.choice(("replace", "replace", "replace", "delete", "repeat", "rename"))
    if action == "replace":
        container[key] = random.choice(WEIRD)
        return f"{path} = {container[key]!r:.60}"
    if action == "delete":
        del container[key]
    elif isinstance(container, list):
        container.insert(key, container[key] if action == "repeat" else random.choice(container))
    else:
        name = random.choice(_KEYS)
        container[name] = container[key] if action == "repeat" else container.pop(key)
        return f"{action} {path} as {name!r}"
    return f"{action} {path}"


def _places(tree: Any, path: str = "") -> Any:  # noqa: ANN401 - any JSON
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key, f"{path}.{key}"
        yield from _places(value, f"{path}.{key}")


def _flip(content: bytes, random: Random) -> bytes:
    place, bit = random.randrange(len(content)), 1 << random.randrange(8)
    return content[:place] + bytes((content[place] ^ bit,)) + content[place + 1 :]


def _truncate(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def _insert(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + random.randbytes(random.choice((1, 4, 64))) + content[place:]


def _cut(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content))
    return content[:start] + content[start + random.choice((1, 4, 64)) :]


def _swap(content: bytes, random: Random) -> bytes:
    size = random.choice((4, 64, 512))
    first, second = sorted(random.randrange(len(content)) for _ in range(2))
    one, other = content[first : first + size], content[second : second + size]
    if first + size > second:
        return content
    return content[:first] + other + content[first + size : second] + one + content[second + size :]


def _overwrite(content: bytes, random: Random) -> bytes:
    start, size = random.randrange(len(content)), random.choice((1, 4, 64))
    return content[:start] + random.randbytes(size) + content[start + size :]


BYTE_CHANGES: Sequence[Callable[[bytes, Random], bytes]] = (_flip, _flip, _truncate, _insert, _cut, _swap, _overwrite)


def change_bytes(content: bytes, random: Random) -> tuple[str, bytes]:
    """Change some bytes; says how."""
    change = random.choice(BYTE_CHANGES)
    return change.__name__.removeprefix("_"), change(content, random) if content else content


def dump(tree: Any) -> bytes:  # noqa: ANN401 - any JSON
    """As Python writes it, NaN and infinity included."""
    return json.dumps(tree, ensure_ascii=True).encode()


def deep(random: Random) -> bytes:
    """Brackets that a recursive reader cannot follow."""
    depth = random.choice((500, 5_000, 100_000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    return (opening * depth + ("1" if opening != "[" else "") + closing * depth).encode()
