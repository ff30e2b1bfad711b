"""The source text of the project as syntax trees and a graph of imports; nothing is imported.

An arrow is an import anywhere in a module, also inside a function. Imports that only a type checker
makes (``if TYPE_CHECKING:``) are marked, and are no edges of the graph.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Arrow(NamedTuple):
    """One import: the module or name, its line, and whether only a type checker sees it."""

    target: str
    line: int
    type_checking: bool


def name_of(path: Path) -> str:
    """Dotted name of the module in a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of DESIGN 5 that a module of mmbas stands in; empty for the package itself."""
    return [*module.split("."), ""][1]


@cache
def modules() -> dict[str, ast.Module]:
    """Syntax tree of every module of the library."""
    paths = sorted((ROOT / "mmbas").rglob("*.py"))
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@cache
def scripts() -> dict[str, ast.Module]:
    """Syntax tree of every command line, by its path."""
    paths = [path for folder in ("tools", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(paths)
    }


def arrows(node: ast.AST, type_checking: bool = False) -> Iterator[Arrow]:
    """Every import below a node. ``from a import b`` counts as ``a.b``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Arrow(alias.name, child.lineno, type_checking) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: expected an absolute import"
            for alias in child.names:
                yield Arrow(f"{child.module}.{alias.name}", child.lineno, type_checking)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from arrows(child, type_checking=True)
        else:
            yield from arrows(child, type_checking)


def own_module(target: str) -> str | None:
    """The module of mmbas that an import reads, or None if it reads another package."""
    while target:
        if target in modules():
            return target
        target = target.rpartition(".")[0]
    return None


@cache
def graph() -> dict[str, set[str]]:
    """Modules of mmbas that each module imports when it runs."""
    return {
        module: {
            own
            for arrow in arrows(tree)
            if not arrow.type_checking and (own := own_module(arrow.target)) is not None
        }
        for module, tree in modules().items()
    }


@cache
def reached(start: str) -> set[str]:
    """Every module that importing one module imports, itself among them."""
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(graph()[module])
    return seen


@cache
def names_of(module: str) -> set[str]:
    """Names that a module of mmbas defines or imports at its top, and its submodules."""
    names = {other.rpartition(".")[2] for other in modules() if other.startswith(f"{module}.")}
    waiting = list(modules()[module].body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting.extend(c for c in ast.iter_child_nodes(node) if isinstance(c, ast.stmt))
    return names
