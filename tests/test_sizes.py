"""Files and functions are short enough to be read at once."""

import ast

import pytest
from source_tree import ROOT

MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 300, 50, 8
MAX_TEST_LINES = 350
# Longer, since each line is one argument or one step: constructors and command lines.
MAX_LINES_OF_LISTS = 65
LISTS = ("__init__", "main", "parse_args")


def docstring_lines(node: ast.FunctionDef) -> int:
    """Lines that explain a function rather than being it, its example among them."""
    return (
        0 if ast.get_docstring(node) is None else node.body[0].end_lineno - node.body[0].lineno + 1
    )


def is_triton_kernel(node: ast.FunctionDef) -> bool:
    """Whether a function is a GPU kernel: its arguments are pointers, strides and constants."""
    return any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)


@pytest.mark.parametrize("folder", ["mmbas", "tools", "benchmarks", "tests"])
def test_files_and_functions_are_short(folder: str):
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text, place = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        if (lines := text.count("\n")) > (MAX_TEST_LINES if folder == "tests" else MAX_LINES):
            wrong.append(f"{place} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and not is_triton_kernel(node):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([a for a in arguments if a.arg not in ("self", "cls")])
                lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
                if lines > (MAX_LINES_OF_LISTS if node.name in LISTS else MAX_FUNCTION_LINES):
                    wrong.append(f"{place}:{node.lineno} {node.name} has {lines} lines")
                if count > MAX_PARAMETERS and node.name != "__init__" and folder != "tests":
                    wrong.append(f"{place}:{node.lineno} {node.name} has {count} parameters")
    assert not wrong, "\n".join(wrong)
