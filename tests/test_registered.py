"""What configs name is registered, and found where ``mmbas/registry.py`` looks."""

import ast
import re
from collections.abc import Iterator

from source_tree import modules, reached, room_of

NAMED_IN_CONFIGS = {
    *("Gate", "GateLoss", "Prior", "Hook", "BaseMetric", "BaseTransform", "BaseDataset"),
    *("ImageClassifier", "EncoderDecoder", "BaseTTAModel", "OptimWrapper"),
}


def decorated_classes() -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Module, class, names of the registries it is registered in, and its bases."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found = [
                    re.match(r"(\w+)\.register_module", ast.unparse(d)) for d in node.decorator_list
                ]
                bases = [ast.unparse(base) for base in getattr(node, "bases", [])]
                yield module, node.name, [match[1] for match in found if match], bases


def locations() -> dict[str, list[str]]:
    """Packages that each registry imports at its first look-up."""
    return {
        ast.unparse(node.targets[0]): ast.literal_eval(keyword.value)
        for node in ast.walk(modules()["mmbas.registry"])
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for keyword in node.value.keywords
        if keyword.arg == "locations"
    }


def test_a_registry_imports_the_module_of_every_class_that_is_registered_in_it():
    registered = [(m, n, r) for m, n, registries, _ in decorated_classes() for r in registries]
    assert len(registered) > 20
    wrong = [
        f"{module}.{name} is not found in {registry}"
        for module, name, registry in registered
        if not any(module in reached(location) for location in locations()[registry])
    ]
    assert not wrong, "\n".join(wrong)


def test_a_location_of_a_registry_holds_something_that_is_registered():
    homes = {(r, room_of(m)) for m, _, registries, _ in decorated_classes() for r in registries}
    named = {(r, room_of(place)) for r, places in locations().items() for place in places}
    assert named - homes == set()


def test_what_a_config_can_name_is_registered():
    """Bases of other classes of ours need not be."""
    bases_of = {name: set(bases) for _, name, _, bases in decorated_classes()}
    nameable = set(NAMED_IN_CONFIGS)
    while more := {name for name, bases in bases_of.items() if bases & nameable} - nameable:
        nameable |= more
    bases_of_ours = set().union(*bases_of.values())
    wrong = [
        f"{module}.{name}"
        for module, name, registries, bases in decorated_classes()
        if set(bases) & nameable and not registries and name not in bases_of_ours
    ]
    assert not wrong, "\n".join(wrong)
