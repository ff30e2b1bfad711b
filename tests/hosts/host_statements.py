"""Runs a host's own test of its ResNet, statement by statement, with our classes in its place.

    python tests/hosts/host_statements.py mmpretrain PATH/test_resnet.py
    python tests/hosts/host_statements.py mmseg PATH/test_resnet.py

PATH is a clone of the host, folder tests/test_models/test_backbones. Counted are the statements of
the functions that test the network (``test_resnet``, ``test_resnet_v1c``, ...; in MMSegmentation
``test_resnet_backbone``); those that test the host's blocks, layers and helpers are its own
business. Each statement that fails is printed with its line and error. Weights of torchvision are
random ones with torchvision's keys, since a test shall need no network.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from mmengine.runner import CheckpointLoader
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones import GatedResNet
from mmbas.blocks import GatedBasicBlock, GatedBottleneck

NETWORK_TESTS = re.compile(r"test_resnet(_backbone|_v1\w|_half_channel)?$")
DEFAULTS = {"mmpretrain": dict(), "mmseg": dict(out_indices=(0, 1, 2, 3))}


class Failure(NamedTuple):
    """A statement that failed: its function, line, first line of code, and error."""

    function: str
    line: int
    code: str
    error: str


def our_classes(host: str, gate: Any = None) -> dict[str, Any]:
    """What stands in the place of the host's names; plain networks unless a gate is given."""
    ours = partial(GatedResNet, gate=gate, **DEFAULTS[host])
    return {
        "ResNet": ours,
        "ResNetV1c": partial(ours, deep_stem=True),
        "ResNetV1d": partial(ours, deep_stem=True, avg_down=True),
        "BasicBlock": GatedBasicBlock,
        "Bottleneck": GatedBottleneck,
    }


def helpers_of_hosts() -> dict[str, Any]:
    """The helpers that MMSegmentation's test imports from beside it."""

    def is_block(module: nn.Module) -> bool:
        return isinstance(module, GatedBasicBlock | GatedBottleneck)

    def is_norm(module: nn.Module) -> bool:
        return isinstance(module, nn.GroupNorm | _BatchNorm)

    def all_zeros(module: Any) -> bool:
        return not module.weight.any() and not module.bias.any()

    def check_norm_state(modules: Any, train_state: bool) -> bool:
        return all(m.training == train_state for m in modules if isinstance(m, _BatchNorm))

    return dict(
        is_block=is_block, is_norm=is_norm, all_zeros=all_zeros, check_norm_state=check_norm_state
    )


def names_of(tree: ast.Module) -> dict[str, Any]:
    """What the file's imports and helper functions define; an import that fails is left out."""
    names: dict[str, Any] = helpers_of_hosts()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            try:
                exec(compile(ast.Module([node], []), "imports", "exec"), names)
            except (ImportError, SystemError, KeyError):
                continue
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("test"):
            exec(compile(ast.Module([node], []), "helpers", "exec"), names)
    return names


def run_statements(source: str, host: str, gate: Any = None) -> tuple[int, list[Failure]]:
    """Run the network's tests of a host; the number of statements, and those that failed.

    Args:
        source: The host's test file.
        host: ``'mmpretrain'`` or ``'mmseg'``.
        gate: Config of the gates; None tests the plain network of our class.
    """
    tree = ast.parse(source)
    total, failures = 0, []
    for function in network_tests(tree):
        names = {**names_of(tree), **our_classes(host, gate)}
        for statement in function.body:
            total += 1
            code = compile(ast.Module([statement], []), function.name, "exec")
            try:
                exec(code, names)
            # pytest.fail, by which pytest.raises says that nothing was raised, is no Exception.
            except BaseException as error:  # noqa: BLE001
                first = ast.get_source_segment(source, statement).splitlines()[0]
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                text = f"{type(error).__name__}: {reason}"
                failures.append(Failure(function.name, statement.lineno, first, text))
    return total, failures


def network_tests(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The functions that test the network."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and NETWORK_TESTS.match(node.name):
            yield node


@CheckpointLoader.register_scheme(prefixes="torchvision://", force=True)
def random_weights(filename: str, map_location: Any = None, logger: Any = None) -> dict[str, Any]:
    """Random weights with torchvision's keys."""
    name = filename.removeprefix("torchvision://")
    state: dict[str, Any] = getattr(torchvision.models, name)(weights=None).state_dict()
    return state


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    number, failed = run_statements(Path(sys.argv[2]).read_text(encoding="utf-8"), sys.argv[1])
    for failure in failed:
        print(f"{failure.function}:{failure.line}: {failure.code.strip()}\n    {failure.error}")
    print(f"{len(failed)} of {number} statements fail")
