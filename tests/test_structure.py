"""The house of DESIGN 5, read from the source text: nothing is imported here."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from source_tree import (
    ROOT,
    arrows,
    graph,
    modules,
    names_of,
    own_module,
    reached,
    room_of,
    scripts,
)

# A room imports rooms that stand above it, and nothing else of mmbas.
ORDER = [
    "torchvision_operators",
    "registry",
    "gates",
    "blocks",
    "backbones",
    "costs",
    "losses",
    "metrics",
    "models",
    "hooks",
    "optim",
    "datasets",
    "sliced",
    "compress",
    "analysis",
    "measure",
    "zoo",
    "cli",
    "experiments",
]

# The hosts are mmpretrain and mmseg; mmengine and mmcv are what they stand on. Who needs none of
# them is pure torch, so that it works and is tested without OpenMMLab.
FOUNDATION = {"mmengine", "mmcv"}
MAY_IMPORT = {
    "torchvision_operators": {"mmengine"},
    "registry": {"mmengine"},
    "gates": set(),
    "blocks": FOUNDATION,
    "backbones": FOUNDATION,
    "costs": set(),
    "losses": set(),
    "metrics": {"mmengine"},
    "models": {"mmengine", "mmpretrain", "mmseg"},
    "hooks": {"mmengine"},
    "optim": {"mmengine"},
    "datasets": FOUNDATION | {"mmpretrain", "mmseg"},
    "sliced": {"mmengine"},
    "compress": {"mmengine"},
    "analysis": set(),
    "measure": set(),
    "zoo": {"mmengine"},
    "cli": {"mmengine"},
    "experiments": {"mmengine"},
}
HOSTS = {"mmengine", "mmcv", "mmpretrain", "mmseg", "mmdet", "mmaction", "mmyolo", "mmrazor"}

# What is installed besides the hosts, and who may ask for it; required packages go everywhere.
REQUIRED = {"torch", "numpy", "scipy"}
OPTIONAL = {
    "cv2": {"analysis", "datasets"},
    "jinja2": {"analysis"},
    "matplotlib": {"analysis"},
    "onnx": {"compress", "measure"},
    "onnxruntime": {"compress", "measure"},
    "openvino": {"measure"},
    "PIL": {"analysis", "datasets"},
    "sklearn": {"datasets"},
    "torchvision": {"datasets", "torchvision_operators"},
    "triton": {"sliced"},
    "yaml": {"experiments"},
}

# Private names of others that have no public spelling. Every entry says why.
PRIVATE_OF_OTHERS = {
    "_resume": "mmengine's Runner has no public word for --resume",
    "_load_from": "mmengine's Runner has no public word for the file to resume from",
    "_BatchNorm": "torch's common class of BatchNorm1d to BatchNorm3d",
    "_ConvNd": "torch's common class of the convolutions",
    "_ConvTransposeNd": "torch's common class of the transposed convolutions",
    "_forward_hooks": "torch has no public way to ask which hooks a module has",
    "_forward_pre_hooks": "as above",
    "_forward_hooks_with_kwargs": "as above",
    "_modules": "torch's public ways are generators, too slow for what each call asks",
    "_parameters": "as above",
    "_register_load_state_dict_pre_hook": "torch 2.1 has no public one",
    "_packed_params": "what torch's quantised linear layers have in common",
    "_orig_mod": "torch.compile's wrapper has no public name for what it wraps",
    "_torchdynamo_orig_callable": "torch has no public way to ask if a method is compiled",
    "_Pointer": "the type of a typed pointer in ctypes has no public name",
}


def test_the_rooms_are_those_of_the_order():
    rooms = {room_of(module) for module in modules()} - {""}
    assert rooms == set(ORDER) == set(MAY_IMPORT)


def test_imports_go_down_the_order_only():
    wrong = [
        f"{module}:{arrow.line} imports {own}"
        for module, tree in modules().items()
        for arrow in arrows(tree)  # a type checker's too: a room is understood without later ones
        if (own := own_module(arrow.target)) is not None
        and room_of(module) not in ("", room_of(own))
        and (room_of(own) == "" or ORDER.index(room_of(own)) > ORDER.index(room_of(module)))
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_the_package_itself_imports_nothing_else():
    code = "import sys, mmbas; print([m for m in sys.modules if m.startswith(('mm', 'torch'))])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['mmbas']"
    assert graph()["mmbas"] == {"mmbas.zoo"}  # by its one function, when that is called


def test_no_circle_between_modules():
    circles = {
        module: sorted(other for other in graph()[module] if module in reached(other))
        for module in modules()
    }
    assert {module: others for module, others in circles.items() if others} == {}


def test_only_plans_import_what_the_command_lines_share():
    users = {room_of(module) for module, own in graph().items() for m in own if room_of(m) == "cli"}
    assert users <= {"cli", "experiments"}


def test_the_library_knows_neither_its_command_lines_nor_its_tests():
    outside = {"tools", "benchmarks", "tests", "configs", "helpers", "references", "setup"}
    wrong = [
        f"{module}:{arrow.line} imports {arrow.target}"
        for module, tree in modules().items()
        for arrow in arrows(tree)
        if arrow.target.split(".")[0] in outside
    ]
    assert not wrong, "\n".join(wrong)


def test_hosts_are_imported_only_where_the_table_says_so():
    wrong = [
        f"{module}:{arrow.line} imports {host}"
        for module, tree in modules().items()
        for arrow in arrows(tree)
        if (host := arrow.target.split(".")[0]) in HOSTS
        and host not in MAY_IMPORT.get(room_of(module), set())
        and not arrow.type_checking
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_comes_from_compiled_mmcv():
    sources = modules() | scripts()
    assert [
        m
        for m, tree in sources.items()
        if any(a.target.startswith("mmcv.ops") for a in arrows(tree))
    ] == []


def test_other_packages_are_the_required_ones_or_optional_where_the_table_says_so():
    wrong = [
        f"{module}:{arrow.line} imports {package}"
        for module, tree in modules().items()
        for arrow in arrows(tree)
        if (package := arrow.target.split(".")[0]) not in sys.stdlib_module_names
        and package not in HOSTS | REQUIRED | {"mmbas"}
        and room_of(module) not in OPTIONAL.get(package, set())
    ]
    assert not wrong, "\n".join(wrong)


def own_private_names(tree: ast.AST) -> set[str]:
    """Private names that a module defines: functions, classes, attributes of ``self``, fields."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            for target in (part for whole in targets for part in ast.walk(whole)):
                if isinstance(target, ast.Name):
                    names.add(target.id)
                elif isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    names.add(target.attr)
    return names


def private_uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Private names that a module reads of something else than ``self``, ``cls`` or ``super()``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "getattr",
            "setattr",
            "hasattr",
        ):
            yield str(getattr(node.args[1], "value", "")), node.lineno


def test_no_private_name_of_another_room_is_used():
    sources = modules() | scripts()
    of_room = {room_of(module): set(PRIVATE_OF_OTHERS) for module in sources}
    for module, tree in sources.items():
        of_room[room_of(module)] |= own_private_names(tree)
    wrong = [
        f"{module}:{line} uses {name}"
        for module, tree in sources.items()
        for name, line in private_uses(tree)
        if re.match(r"_(?!_)", name) and name not in of_room[room_of(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is():
    sources = modules() | scripts()
    assert [module for module, tree in sources.items() if not ast.get_docstring(tree)] == []


def test_tests_mirror_the_library():
    others = {"tools", "use", "hosts", "__pycache__"}
    folders = {p.name for p in (ROOT / "tests").iterdir() if any(p.glob("**/test_*.py"))} - others
    assert folders <= set(ORDER)


def test_tests_import_one_another_from_where_they_are():
    tests = ROOT / "tests"
    folders = {path.name for path in tests.iterdir() if path.is_dir()}
    wrong = []
    for path in sorted(tests.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in folders:
                place = tests / node.module.replace(".", "/")
                if not (place.is_dir() or place.with_suffix(".py").exists()):
                    wrong.append(f"{path.relative_to(ROOT)} imports {node.module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["mmbas", "tools", "benchmarks", "tests"])
def test_what_is_imported_from_the_library_exists(folder: str):
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {alias.name} from {node.module}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and re.match(r"mmbas\b", str(node.module))
        for alias in node.names
        if node.module not in modules() or alias.name not in names_of(node.module)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_a_package_exports_is_imported_in_it():
    wrong = []
    for module, tree in modules().items():
        bound = {arrow.target.rpartition(".")[2] for arrow in arrows(tree)}
        for node in ast.walk(tree):
            targets = (
                node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            )
            if (
                isinstance(node, ast.Assign | ast.AugAssign)
                and ast.unparse(targets[0]) == "__all__"
            ):
                wrong += [f"{module}: {n}" for n in ast.literal_eval(node.value) if n not in bound]
    assert not wrong, "\n".join(wrong)
