"""The picture of one image's open gates."""

import matplotlib.colors
import numpy as np
import pytest

from mmbas.analysis.open_gates import open_gates_figure
from mmbas.analysis.plot_style import BLUE


def test_a_cell_is_filled_where_a_gate_is_open():
    gates = {"layer1.0": np.array([True, False, True]), "layer2.0": np.array([False] * 6)}
    figure = open_gates_figure(np.zeros((4, 4, 3), np.uint8), gates, title="a digit")
    left, right = figure.axes
    assert figure.get_suptitle() == "a digit"
    assert len(left.images) == 1
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels == ["layer1.0: 2 of 3", "layer2.0: 0 of 6"]
    for mesh, (name, layer) in zip(right.collections, gates.items(), strict=True):
        mesh.update_scalarmappable()
        filled = [matplotlib.colors.to_hex(c) == BLUE.lower() for c in mesh.get_facecolors()]
        assert filled == layer.tolist(), name


def test_a_network_without_gates_is_refused():
    with pytest.raises(ValueError, match="expected the gates of at least one layer"):
        open_gates_figure(np.zeros((4, 4, 3), np.uint8), {}, title="")
