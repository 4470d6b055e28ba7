"""No file, function or constructor is longer than a reader can hold in mind."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "kernels", "scripts")
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_ARGUMENTS = 400, 60, 12


@cache
def sources() -> Mapping[str, str]:
    """Every source file by its path from the root of the repository."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


@cache
def trees() -> Mapping[str, ast.Module]:
    """The same, parsed."""
    return {path: ast.parse(content) for path, content in sources().items()}


def long_functions(tree: ast.AST) -> list[str]:
    """Names of functions with more lines than they may have."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION]


def wide_constructors(tree: ast.AST) -> list[str]:
    """Names of classes whose ``__init__`` or ``__new__`` takes more than it may; a dataclass writes none."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name in ("__init__", "__new__")
        if num_arguments(function.args) > MOST_ARGUMENTS
    ]


def num_arguments(arguments: ast.arguments) -> int:
    """Of a method, ``self`` left out."""
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs) - 1


def unannotated(tree: ast.AST) -> list[str]:
    """Names of functions with an argument or a result of no stated type."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if node.returns is None or not all(each.annotation for each in _arguments(node.args))
    ]


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    extra = (each for each in (arguments.vararg, arguments.kwarg) if each is not None)
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra):
        if each.arg not in ("self", "cls"):
            yield each


def test_no_file_is_long() -> None:
    assert len(sources()) > 100
    counts = {path: len(content.splitlines()) for path, content in sources().items()}
    assert not {path: count for path, count in counts.items() if count > MOST_LINES}


def test_no_function_outside_of_the_kernels_is_long() -> None:
    found = {path: long_functions(tree) for path, tree in trees().items() if not path.startswith("kernels/")}
    assert not {path: names for path, names in found.items() if names}


def test_no_constructor_takes_much() -> None:
    found = {path: wide_constructors(tree) for path, tree in trees().items()}
    assert not {path: names for path, names in found.items() if names}


def test_every_argument_and_result_outside_of_the_kernels_has_a_type() -> None:
    found = {path: unannotated(tree) for path, tree in trees().items() if not path.startswith("kernels/")}
    assert not {path: names for path, names in found.items() if names}


def test_what_is_too_long_too_wide_or_without_a_type_is_found() -> None:
    body = "\n".join(["        pass"] * MOST_LINES_OF_A_FUNCTION)
    wide = ", ".join(f"a{k}: int" for k in range(MOST_ARGUMENTS + 1))
    tree = ast.parse(
        f"class Wide:\n    def __init__(self, *, {wide}) -> None:\n{body}\n    def f(self, *args):\n{body}"
    )
    assert long_functions(tree) == ["__init__", "f"]
    assert wide_constructors(tree) == ["Wide"]
    assert unannotated(tree) == ["f"]
    fitting = ast.parse(f"class Fit:\n    def __init__(self, {wide.rpartition(',')[0]}) -> None:\n        pass")
    assert [*long_functions(fitting), *wide_constructors(fitting), *unannotated(fitting)] == []
