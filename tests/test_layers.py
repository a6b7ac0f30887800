"""No import runs upwards through the layers of ARCHITECTURE.md, at module level or in a function.

Imports under `if TYPE_CHECKING:` do not count. A module that all layers share (errors, dtypes) is
at the bottom; `toolkit/__init__.py` names what is public and may import anything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    "toolkit": ROOT / "toolkit",
    "toolkit.cli": ROOT / "cli",
    "toolkit.models": ROOT / "models",
}

# Each layer may import itself and what is listed; `*` stands for everything.
TENSOR = {
    "array_api",
    "tensor",
    "tracing",
    "_tensor",
    "ops",
    "random",
    "autograd",
    "amp",
    "testing",
    "backends",
    "device",
    "function",
    "func",
    "utils",
    "fft",
    "linalg",
    "special",
}
NN = {"nn", "optim", "data", "distributions", "compiler"}
SHARED = {"errors", "dtypes", "source_lines"}
GRAPH, AUTODIFF, RUNTIME = {"graph"}, {"autodiff"}, {"runtime"}
BELOW_TENSOR = GRAPH | AUTODIFF | RUNTIME
ALLOWED = {
    "source_lines": set(),
    "errors": {"source_lines"},
    "cuda": set(),
    "dtypes": SHARED,
    "graph": GRAPH,
    "autodiff": AUTODIFF | GRAPH,
    "runtime": RUNTIME | GRAPH,
    **dict.fromkeys(TENSOR, TENSOR | BELOW_TENSOR),
    "utils": {"data"} | TENSOR | BELOW_TENSOR,  # PyTorch's name for `data` is utils.data.
    **dict.fromkeys(NN, NN | TENSOR | BELOW_TENSOR),
    "convert": {"convert"} | NN | TENSOR | BELOW_TENSOR,
    "train": {"train", "models", "convert"} | NN | TENSOR | BELOW_TENSOR,
    "models": {"train", "models", "convert", ""} | NN | TENSOR | BELOW_TENSOR,
}  # fmt: skip
# What has no layer of its own: the public names, the command line.
TOP = {"", "cli", "__main__"}


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module of the three packages."""
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if package == "toolkit" and parts[0] in ("cli", "models"):
                continue  # Development links to the folders at the root.
            if parts[-1] == "__init__":
                parts = parts[:-1]
            yield ".".join((package, *parts)), path


def layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


class Imports(ast.NodeVisitor):
    """The modules of toolkit that a module imports, with their lines."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.package = module.split(".") if is_package else module.split(".")[:-1]
        self.found: list[tuple[str, int]] = []

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)
        for child in node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else ():
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(a.name, node.lineno) for a in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            head = self.package[: len(self.package) - node.level + 1]
            base = ".".join([*head, *([base] if base else [])])
        if base == "toolkit":
            self.found += [(f"toolkit.{a.name}", node.lineno) for a in node.names]
        else:
            self.found.append((base, node.lineno))


def imports(module: str, path: Path) -> list[tuple[str, int]]:
    visitor = Imports(module, path.name == "__init__.py")
    visitor.visit(ast.parse(path.read_text()))
    return [(name, line) for name, line in visitor.found if name.split(".")[0] == "toolkit"]


def test_no_import_runs_upwards():
    wrong = []
    for module, path in modules():
        own = layer(module)
        if own in TOP:
            continue
        assert own in ALLOWED, f"{path}: give toolkit.{own} a layer in {Path(__file__).name}"
        for name, line in imports(module, path):
            if layer(name) not in ALLOWED[own] | SHARED | {own}:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["cli", "models"])
def test_folders_at_the_root_are_imported_as_parts_of_toolkit(folder):
    for module, path in modules():
        visitor = Imports(module, path.name == "__init__.py")
        visitor.visit(ast.parse(path.read_text()))
        names = {name.split(".")[0] for name, _ in visitor.found}
        assert folder not in names, f"{path}: import toolkit.{folder}, not {folder}"


def test_command_line_has_no_importers():
    for module, path in modules():
        if layer(module) in TOP:
            continue
        assert not [n for n, _ in imports(module, path) if layer(n) == "cli"], path
