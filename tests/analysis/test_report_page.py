"""The report: its page is self-contained and its numbers are those that were counted."""

import json
import math
import re
from html.parser import HTMLParser

import matplotlib.figure
import numpy as np
import pytest
import torch
from analysis.profiles import profile_of

from mmbas.analysis import DataSetImages, report_sections, write_report
from mmbas.analysis.report_page import format_macs, json_ready

NUM_IMAGES = 30
DATASET = [dict(inputs=torch.full((3, 8, 8), 8 * i, dtype=torch.uint8)) for i in range(NUM_IMAGES)]


def model(name="net <1>"):
    # gates: always open, open for the even images, for the first 4, never
    return profile_of(
        [[1, i % 2 == 0, i < 4, 0] for i in range(NUM_IMAGES)],
        layers={"layer1.0": 2, "layer2.0": 2},
        labels=[(i % 3,) for i in range(NUM_IMAGES)],
        classes=("cat", "dog", "bird"),
        images=[(40.0 + i, float(i % 5 > 0), 0.1 * i) for i in range(NUM_IMAGES)],
        name=name,
    )


class Page(HTMLParser):
    """What a browser would fetch or run, and which tags stay open."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.tags, self.open, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "srcset", "href", "data", "action")]
        if tag not in ("meta", "link", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "deep"
    models = [model(), model("other")]
    sections = report_sections(models, DataSetImages(DATASET, bgr=False))
    write_report(
        folder,
        models=models,
        sections=sections,
        origin={"command": "a command"},
        facts={"data": "thirty & more"},
    )
    text = (folder / "report.html").read_text(encoding="utf-8")
    numbers = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    return folder, Page(text), text, numbers


def test_page_fetches_nothing(report):
    _, page, text, _ = report
    assert page.open == []
    assert len(page.sources) >= 2 * 7
    assert all(source.startswith("data:") for source in page.sources)
    assert "url(" not in text
    assert not re.search(r"https?://", re.sub(r"base64,[^\"]*", "", text))


def test_every_figure_is_there_light_and_dark(report):
    folder, page, _, numbers = report
    keys = [
        *("figure_5", "figure_1b", "figure_6", "figure_6_distances"),
        *("figure_7", "figure_4", "difficulty"),
    ]
    assert list(numbers["figures"]) == keys
    assert page.tags.count("img") == page.tags.count("source") == page.tags.count("figcaption") == 7
    for key in keys:
        assert (folder / f"{key}.png").read_bytes().startswith(b"\x89PNG")
    assert len(set(page.sources)) == len(page.sources)


def test_names_are_escaped(report):
    _, page, text, _ = report
    assert "<1>" not in text
    assert "Gate report: net <1>" in page.words
    assert "thirty & more" in page.words


def test_table_of_layers(report):
    _, page, _, _ = report
    assert page.words.count("layer2.0") == 2
    words = [word for word in page.words if word.strip()]
    row = words[words.index("layer2.0") : words.index("layer2.0") + 7]
    # 4 of 30 images and none: a mean of 6.7 %; the first is conditional, the second always off
    assert row == ["layer2.0", "2", "6.7", "6.7", "0.0", "50.0", "50.0"]


def test_numbers_are_those_counted(report):
    _, _, _, numbers = report
    first = numbers["models"][0]
    assert numbers["command"] == "a command"
    assert (first["num_images"], first["num_gates"]) == (30, 4)
    assert first["gates"]["layer1.0"]["open_rate"] == [1.0, 0.5]
    assert first["gates"]["layer2.0"]["open_images_by_class"] == [[2, 0], [1, 0], [1, 0]]
    assert first["images_by_class"] == [10, 10, 10]
    assert first["gates"]["layer1.0"]["prob_histogram"][1] == [15] + [0] * 18 + [15]
    assert first["images"]["macs"][:2] == [40.0, 41.0]
    assert first["macs_fraction"] == pytest.approx(0.545)
    assert numbers["figures"]["figure_4"] == {"highest": [29, 28, 27, 26], "lowest": [0, 1, 2, 3]}
    (rare,) = numbers["figures"]["figure_7"]
    assert (rare["layer"], rare["gate"], rare["examples"]) == ("layer2.0", 0, [0, 1, 2, 3])


def test_captions_tell_the_numbers(report):
    _, page, _, _ = report
    text = " ".join(page.words)
    assert "50% of the 4 gates are conditional" in text
    assert "range from 40.0% to 69.0%, with a mean of 54.5%" in text
    assert "Yes: the rank correlation of MACs and loss is 1.00" in text


def test_without_classes_and_rare_gates_the_report_says_so(tmp_path):
    bare = profile_of([[1, 0]] * 3, layers={"a": 2}, images=[(50.0, math.nan, math.nan)] * 3)
    sections = report_sections([bare], DataSetImages(DATASET, bgr=False))
    assert [section.key for section in sections] == [
        *("figure_5", "figure_1b", "figure_7", "figure_4"),
    ]
    assert sections[2].draw is None
    assert sections[2].caption.startswith("No gate is open for")
    write_report(tmp_path, models=[bare], sections=sections, origin={}, facts={})
    assert not (tmp_path / "figure_7.png").exists()
    # NaN is no JSON
    text = (tmp_path / "gates.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["models"][0]["images"]["loss"] == [None] * 3


def test_training_is_shown_by_its_checkpoints():
    over_training = {"epoch 1": model("a"), "epoch 2": model("b")}
    sections = report_sections(
        [model()], DataSetImages(DATASET, bgr=False), over_training=over_training, gates=[1]
    )
    (histogram,) = sections[1].data
    assert histogram.checkpoints == ["epoch 1", "epoch 2"]
    assert (histogram.layer, histogram.gate) == ("layer1.0", 1)
    assert isinstance(sections[1].draw(), matplotlib.figure.Figure)


def test_json_ready():
    value = {1: (np.float32(0.5), np.arange(2), math.inf), "b": np.bool_(True)}
    assert json_ready(value) == {"1": [0.5, [0, 1], None], "b": True}


def test_macs_stay_exact():
    assert json_ready([27_953_537.0, 123_456_789_012.0]) == [27_953_537, 123_456_789_012]
    assert json_ready(1 / 3) == 0.333333333


@pytest.mark.parametrize(("macs", "text"), [(24.76e6, "24.8 M"), (3.664e9, "3.66 G")])
def test_macs_have_a_unit(macs, text):
    assert format_macs(macs) == text
