"""Features of any model by name, collected while it runs inside a ``with`` statement.

Hooks stand on the modules inside the statement only, and each serves its own statement: threads
that run the same model do not see each other, and nothing is left on the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import Tensor, nn

from mmbas.gates.scoped import Scoped

Taken = TypeVar("Taken")
MOST_NEAR_NAMES = 5

_RECORDINGS: Scoped[object] = Scoped("mmbas_feature_recordings")


def match_modules(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Names of the modules that patterns name, in the order of the model.

    Args:
        model: Any model.
        patterns: Names as in ``model.named_modules()``. Within a part between two dots ``*``,
            ``?`` and ``[...]`` stand for characters; ``**`` stands for any number of parts.

    Raises:
        ValueError: If a pattern names no module; with the nearest names.

    Example:
        >>> from torch import nn
        >>> from mmbas.losses import match_modules
        >>> stage = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> model = nn.ModuleDict(dict(stem=nn.BatchNorm2d(3), stage=stage))
        >>> match_modules(model, ["stage.*"])
        ['stage.0', 'stage.1']
        >>> match_modules(model, ["**.1", "stem"])
        ['stem', 'stage.1']
    """
    names = [name for name, _ in model.named_modules() if name]
    matched: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if _matches(pattern.split("."), name.split("."))]
        if not found:
            raise ValueError(
                f"expected a pattern that names modules of {type(model).__name__}, but got "
                f"{pattern!r}; the nearest names are {nearest(pattern, names)}"
            )
        matched.update(found)
    return [name for name in names if name in matched]


def nearest(pattern: str, names: Sequence[str]) -> list[str]:
    """The few names that look most like a pattern, the most similar first."""
    return difflib.get_close_matches(pattern, names, n=MOST_NEAR_NAMES, cutoff=0.0)


@contextmanager
def record_features(
    model: nn.Module,
    names: Sequence[str],
    take: Callable[[str, Tensor], Taken],
) -> Iterator[dict[str, Taken]]:
    """Collect what modules return inside a ``with`` statement, in the same thread.

    Args:
        model: Holds the modules.
        names: Their names.
        take: Called with name and output as soon as there is one, since what follows in the model
            may overwrite it. It returns what to keep.

    Yields:
        What ``take`` has returned by name; that of a further call of ``relu`` as ``relu#2``.

    Raises:
        TypeError: When the model runs, if a module returns anything but one tensor.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from mmbas.losses import record_features
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
        >>> with record_features(model, ["0"], lambda name, output: output.clone()) as features:
        ...     _ = model(torch.randn(2, 3))
        >>> {name: tuple(feature.shape) for name, feature in features.items()}
        {'0': (2, 4)}
    """
    records: dict[str, Taken] = {}
    recording = object()

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not any(each is recording for each in _RECORDINGS.values()):
                return  # another thread's call
            if not isinstance(output, Tensor):
                raise TypeError(
                    f"expected the module {name} to return one tensor, but got "
                    f"{type(output).__name__}; name a module inside it"
                )
            key, calls = name, 1
            while key in records:
                calls += 1
                key = f"{name}#{calls}"
            records[key] = take(name, output)

        return hook

    with _RECORDINGS.holding(recording), ExitStack() as stack:
        for name in names:
            handle = model.get_submodule(name).register_forward_hook(hook_of(name))
            stack.callback(handle.remove)
        yield records


def check_all_ran(names: Sequence[str], records: Mapping[str, object]) -> None:
    """Refuse a recording in which a named module has not run.

    Raises:
        RuntimeError: With the names.
    """
    missing = [name for name in names if name not in records]
    if missing:
        raise RuntimeError(
            f"expected the modules {missing} to run inside the recording, but they did not; run "
            "the model inside the with statement in the same thread, not compiled, and name "
            "modules that a training pass calls"
        )


def _matches(pattern: Sequence[str], name: Sequence[str]) -> bool:
    """Tell whether the parts of a name fit the parts of a pattern."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(_matches(pattern[1:], name[start:]) for start in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], pattern[0]) and _matches(pattern[1:], name[1:])
