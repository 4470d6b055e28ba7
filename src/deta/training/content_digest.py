"""A digest of what a checkpoint holds, which tells whether anything in it was changed since training wrote it.

The checksums of its file tell of damage. A program that reads a checkpoint, changes it and writes it again makes new
ones, and no check of single parts finds all that Lightning, its callbacks and an optimizer cannot go on from.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_MAX_VALUES, _MAX_DEPTH = 10_000_000, 100
"""Bounds of a content: a file can hold one list a million times over."""


def content_digest(content: object) -> str:
    """SHA-256 of tensors (kind, shape and numbers, on whichever device) and plain values, in their order.

    Values of other kinds than a checkpoint is read with count by their kind alone.

    Raises:
        ValueError: There are more than 10,000,000 values or 100 levels.
    """
    digest, num_values = hashlib.sha256(), 0

    def add(node: Any, depth: int) -> None:  # noqa: ANN401 - out of a file
        nonlocal num_values
        num_values += 1
        if num_values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_VALUES} values or {_MAX_DEPTH} levels")
        if isinstance(node, Tensor):
            digest.update(f"tensor {node.dtype} {tuple(node.shape)};".encode())
            if node.layout is torch.strided and not node.is_meta:
                flat = node.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)  # [elements]
                digest.update(memoryview(flat.view(torch.uint8).numpy()))  # type: ignore[arg-type]  # an array is a buffer
        elif isinstance(node, Mapping):
            digest.update(f"mapping {len(node)};".encode())
            for key, value in node.items():
                add(key, depth + 1)
                add(value, depth + 1)
        elif isinstance(node, (list, tuple)):
            digest.update(f"{'list' if isinstance(node, list) else 'tuple'} {len(node)};".encode())
            for value in node:
                add(value, depth + 1)
        elif isinstance(node, (set, frozenset)):
            digest.update(b"set;")
            add(sorted(map(repr, node)), depth + 1)
        else:
            is_plain = node is None or isinstance(
                node, (bool, int, float, complex, str, bytes, torch.dtype, torch.device)
            )
            value = repr(node) if is_plain else ""
            digest.update(f"{type(node).__name__} {len(value)} {value};".encode("utf-8", "surrogatepass"))

    add(content, 0)
    return digest.hexdigest()
