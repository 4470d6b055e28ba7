"""Imports point down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {"api"},
    {"cli"},
    {"commands"},
    {"launching"},
    {"building"},
    {"console"},
    {"studies", "testing"},
    {"training"},
    {"evaluation", "analysis", "export", "inference"},
    {"tracking"},
    {"runs", "drawing", "zoo"},
    {"data", "models", "losses"},
    {"assign"},
    {"ops"},
    {"structures"},
    {"utils"},
]
SEES_CONFIGURATIONS = {"api", "cli", "commands", "launching", "building", "console"}
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
SOURCES = sorted((ROOT / "src" / "deta").rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            names.add(node.module)
    return names


def layer(module: str) -> str | None:
    """The layer of a dotted name of ours; None for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "deta" and len(parts) > 1 else None


def violations(own: str, modules: set[str]) -> list[str]:
    """Imports of a file in layer ``own`` that do not point down."""
    targets = {module: layer(module) for module in modules}
    return sorted(
        module
        for module, target in targets.items()
        if target is not None and target != own and LEVEL[target] <= LEVEL[own]
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT / "src" / "deta").parts[0].removesuffix(".py")
    modules = imported_modules(path)
    if own not in ("__init__", "__main__"):
        assert violations(own, modules) == []
    if own not in SEES_CONFIGURATIONS:
        assert not {name for name in modules if name.split(".")[0] in ("hydra", "omegaconf")}


def test_a_wrong_import_would_be_found() -> None:
    assert violations("data", {"deta.models.detector", "deta.structures", "torch"}) == ["deta.models.detector"]
    assert violations("ops", {"deta.assign"}) == ["deta.assign"]


def test_only_attention_suppression_and_commands_know_the_kernels() -> None:
    packages = {path: {name.split(".")[0] for name in imported_modules(path)} for path in SOURCES}
    users = {path.relative_to(ROOT / "src/deta") for path in SOURCES if "deta_kernels" in packages[path]}
    assert users == {Path("models/attention/deformable.py"), Path("ops/nms.py"), Path("commands/operator_check.py")}


def test_kernels_never_import_deta() -> None:
    for path in (ROOT / "kernels" / "deta_kernels").rglob("*.py"):
        assert not {name for name in imported_modules(path) if name.split(".")[0] == "deta"}, path


@pytest.mark.parametrize("path", sorted((ROOT / "src" / "deta" / "runs").glob("*.py")), ids=lambda path: path.name)
def test_what_a_run_directory_tells_needs_neither_pytorch_nor_lightning(path: Path) -> None:
    assert not {name for name in imported_modules(path) if name.split(".")[0] in ("torch", "lightning")}


def test_the_state_of_runs_is_told_without_importing_pytorch() -> None:
    names = ", ".join(f"deta.runs.{path.stem}" for path in (ROOT / "src" / "deta" / "runs").glob("[a-z]*.py"))
    loaded = f"import sys, {names}; sys.exit(bool({{'torch', 'lightning'}} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", loaded], check=True)
