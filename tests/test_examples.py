"""The examples in docstrings of the library give what they print."""

import ast
import doctest
import importlib
import warnings

import pytest
import torch
from source_tree import ROOT, modules, name_of

# What somebody writes who uses the package from Python.
EVERYDAY = {
    *("ChannelGate", "sample_binary_concrete", "record_gate_outputs", "force_gate_logits"),
    *("GatedResNet", "GatedResNetCifar", "count_macs", "accelerate", "reduce_model", "match_macs"),
    *("batch_shaping_loss", "gate_l0_loss", "macs_fraction", "LinearWindow"),
    *("BetaPrior", "KumaraswamyPrior", "NormalPrior", "UniformPrior"),
}
WITH_EXAMPLES = [
    name_of(path)
    for path in sorted((ROOT / "mmbas").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_what_is_used_every_day_has_an_example():
    found = {
        node.name
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and ">>> " in (ast.get_docstring(node) or "")
    }
    assert EVERYDAY - found == set()


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_an_example_gives_what_it_prints(name):
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert tests, f"expected examples in docstrings of {name}, but they stand elsewhere"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
