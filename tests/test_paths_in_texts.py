"""Paths and modules that the texts name exist: what moved has moved there too."""

import re

from source_tree import ROOT, modules

TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# The hosts have folders of the same names, and a wheel has a folder that a checkout has not.
OF_OTHERS = ("tools/dataset_converters/", "configs/resnet/", "tests/test_models/", "mmbas/.mim")


def test_every_path_that_a_text_names_exists():
    path = re.compile(
        r"(?<![\w/.-])(?:mmbas|tools|tests|configs|plans|benchmarks)/[\w./-]*\w\b(?!\{)/?"
    )
    wrong = [
        f"{text.name}: {match[0]}"
        for text in TEXTS
        for match in path.finditer(text.read_text(encoding="utf-8"))
        if not match[0].startswith(OF_OTHERS) and not (ROOT / match[0]).exists()
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_that_a_text_imports_exists():
    place = re.compile(r"(?:from|import|python -m) (mmbas[\w.]*\w)")
    wrong = [
        f"{text.name}: {match[0]}"
        for text in [*TEXTS, *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "results").glob("*.md")]
        for match in place.finditer(text.read_text(encoding="utf-8"))
        if match[1] not in modules()
    ]
    assert not wrong, "\n".join(wrong)
