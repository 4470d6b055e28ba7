"""Files of exported detectors: written whole, and run as their users run them."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from deta.export.graph import INPUTS
from deta.export.plain import graphs_of, without_own_operators

KEY = "deta"
"""Of what a file says of itself: a JSON text among the metadata of ONNX, ``deta.json`` in a program."""
SUFFIXES: Mapping[str, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
"""By format."""
Run = Callable[[Sequence[Tensor]], list[Tensor]]
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_packages(kind: str) -> None:
    """Raise ``ModuleNotFoundError`` where a package is missing that writes or runs files of this format."""
    missing = [name for name in _NEEDED if find_spec(name) is None] if kind == "onnx" else []
    if missing:
        raise ModuleNotFoundError(
            f"format=onnx needs packages that are not installed: pip install {' '.join(missing)}, or the extra export"
        )


def write(
    program: ExportedProgram, kind: str, path: Path, *, outputs: Sequence[str], description: Mapping[str, Any]
) -> None:
    """Write a traced detector.

    Args:
        program: As ``trace`` gives it.
        kind: One of ``SUFFIXES``.
        path: The file.
        outputs: Names of the outputs.
        description: Plain data that goes along, see ``KEY``.

    Raises:
        OSError: The file cannot be written.
        ValueError: ONNX has no form of a part of it.
    """
    if kind == "onnx":
        _write_onnx(program, path, outputs, json.dumps(description))
    else:
        program = without_own_operators(program, suppression=True)
        for node in (node for graph in graphs_of(program) for node in graph.nodes):
            node.meta.pop("stack_trace", None)  # with paths of this machine
        with path.open("wb") as file:  # by its name it would have to end in .pt2
            torch.export.save(program, file, extra_files={f"{KEY}.json": json.dumps(description)})


def _write_onnx(program: ExportedProgram, path: Path, outputs: Sequence[str], description: str) -> None:
    from deta.export.onnx_operators import OPSET, translations

    for package in ("onnxscript", "onnx_ir"):
        logging.getLogger(package).setLevel(logging.ERROR)  # they tell of every operator that they leave or drop
    try:
        written = torch.onnx.export(
            without_own_operators(program, suppression=False),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(outputs),
            custom_translation_table=dict(translations()),
            opset_version=OPSET,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        lines = [line for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise ValueError(
            f"a part of this detector has no form in ONNX, format=torch_export may take it: {lines[0][:300]}"
        ) from error
    assert written is not None
    for node in written.model.graph:
        node.metadata_props.clear()  # with paths of this machine
    written.model.metadata_props.clear()
    written.model.metadata_props[KEY] = description
    written.save(path, external_data=False)


def load(path: Path, kind: str, inputs: Sequence[str] = INPUTS) -> Run:
    """What runs the file on a CPU, in ONNX Runtime or as the loaded program: inputs in, outputs out."""
    if kind == "torch_export":
        with path.open("rb") as file:
            module = torch.export.load(file).module()
        return lambda values: list(module(*values))
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(values: Sequence[Tensor]) -> list[Tensor]:
        named = dict(zip(inputs, (value.numpy() for value in values), strict=True))
        return [torch.from_numpy(output) for output in session.run(None, named)]

    return run
