"""Docstrings say the thing in short, whole sentences."""

import ast
import re
from collections.abc import Iterator

from source_tree import modules, scripts

MAX_WORDS = 40
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Note", "Source")
END = re.compile(r"(?:(?<=[.!?:;])|(?<=[.!?]\)))\s+(?=[A-Z`(0-9])")
# "Temperature of the relaxation" is a phrase, "Of the relaxation" half of one.
HALF = re.compile(r"(?:Of|As|In|By|From|For|Those|What|Whether|How|Which)\b")


def docstrings() -> Iterator[tuple[str, str]]:
    """Place and text of every docstring of the library and the command lines."""
    for name, tree in (modules() | scripts()).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield f"{name} {getattr(node, 'name', '')}", ast.get_docstring(node) or ""


def entries(text: str) -> Iterator[str]:
    """Descriptions of arguments, attributes and errors."""
    for section in re.findall(r"^(?:Args|Attributes|Raises):\n(.*?)(?=^\w|\Z)", text, re.M | re.S):
        yield from re.split(r"^ {4}[*\w, ]+: ", section, flags=re.M)[1:]


def sentences(text: str) -> Iterator[str]:
    """Sentences of the prose: no examples, formulas, tables and commands."""
    text = re.sub(r"^Example:\n.*?(?=^\w|\Z)", "", text, flags=re.M | re.S)
    for part in re.split(
        rf"^(?:{'|'.join(SECTIONS)}):\n|\n\s*\n|^ {{4}}[*\w, ]+: ", text, flags=re.M
    ):
        if not re.search(r"\S {3}|^ {4}", part):
            yield from re.split(END, " ".join(part.split()))


def test_a_sentence_is_short():
    wrong = [
        f"{place}: {sentence}"
        for place, text in docstrings()
        for sentence in sentences(text)
        if len(re.findall(r"\S*\w\S*", sentence)) > MAX_WORDS
    ]
    assert not wrong, "\n".join(wrong)


def test_a_description_says_the_thing():
    wrong = [
        f"{place}: {start.splitlines()[0]}"
        for place, text in docstrings()
        for start in (text, *entries(text))
        if HALF.match(start)
    ]
    assert not wrong, "\n".join(wrong)
