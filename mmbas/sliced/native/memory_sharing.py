"""Memory that feature maps share, because they are needed at different times."""

from __future__ import annotations

from mmbas.sliced.native.feature_maps import FeatureMap
from mmbas.sliced.native.library import Kind, OpStruct
from mmbas.sliced.native.steps import Draft, Step

# Sharing costs clearing: what is padding in one map was pixels in another. Below this it is not
# worth its time.
UNSHARED_FLOATS = 16 << 20


def place_maps(draft: Draft, start: int) -> int:
    """Give the feature maps of ``draft`` memory from ``start`` on, and return its end, in floats.

    Where they take more than ``UNSHARED_FLOATS``, those that are never needed at the same time
    share memory, and steps that clear it are inserted.
    """
    maps = draft.maps.all()
    if sum(feature_map.num_floats for feature_map in maps) <= UNSHARED_FLOATS:
        end = start
        for feature_map in maps:
            feature_map.place(end)
            end += feature_map.num_floats
        return end
    spans = _spans(draft.steps)
    placed: list[FeatureMap] = []
    for feature_map in sorted(maps, key=lambda each: -each.num_floats):
        rivals = [other for other in placed if _overlap(spans[id(other)], spans[id(feature_map)])]
        _place_between(feature_map, rivals, start)
        placed.append(feature_map)
    _insert_clearing(draft)
    return max(feature_map.start + feature_map.num_floats for feature_map in maps)


def _spans(steps: list[Step]) -> dict[int, tuple[int, int]]:
    """First and last step that uses each map, by its id."""
    spans: dict[int, tuple[int, int]] = {}
    for i, step in enumerate(steps):
        for feature_map in (step.source, step.target):
            if feature_map is not None:
                first, _ = spans.get(id(feature_map), (i, i))
                spans[id(feature_map)] = (first, i)
    return spans


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _place_between(feature_map: FeatureMap, rivals: list[FeatureMap], start: int) -> None:
    """At the lowest place that no rival takes."""
    position = start
    for other in sorted(rivals, key=lambda each: each.start):
        if other.start >= position + feature_map.num_floats:
            break
        position = max(position, other.start + other.num_floats)
    feature_map.place(position)


def _insert_clearing(draft: Draft) -> None:
    """Before the first step that uses a map, clear its memory."""
    cleared: set[int] = set()
    steps: list[Step] = []
    for step in draft.steps:
        target = step.target
        if target is not None and id(target) not in cleared:
            cleared.add(id(target))
            end = target.start + target.num_floats
            steps.append(Step(OpStruct(kind=Kind.CLEAR, out_offset=target.start, in_offset=end)))
        steps.append(step)
    draft.steps[:] = steps
