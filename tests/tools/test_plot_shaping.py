"""tools/plot_shaping.py and tools/learn_priors.py: pictures and their numbers."""

import numpy as np
import pytest
from helpers import call_tool, error_of, json_of, write_checkpoint, write_config
from PIL import Image

SHAPED = """
model = dict(
    type="mmbas.ShapedModel",
    host="mmbas.GatedImageClassifier",
    shaping_losses=dict(
        norms=dict(
            type="mmbas.ShapingLoss",
            features=["backbone.layer1.*.bn1"],
            prior=dict(type="mmbas.UniformPrior", low=-2.0, high=2.0),
        )
    ),
)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shaped")
    config = write_config(folder, SHAPED)
    write_checkpoint(config, folder / "net.pth")
    return config, folder / "net.pth"


@pytest.mark.parametrize(
    ("arguments", "prior"),
    [
        (["backbone.layer1.0.bn1", "--channel", "3"], "UniformPrior(low=-2.0, high=2.0)"),
        (["backbone.layer2.0.gate"], "BetaPrior(a=0.6, b=0.4)"),
        (["backbone.conv1", "--prior", "NormalPrior", "std=2"], "NormalPrior(mean=0.0, std=2.0)"),
    ],
)
def test_a_picture_of_any_feature(trained, tmp_path, arguments, prior):
    picture = tmp_path / "new" / "feature.png"
    result = json_of(
        call_tool, "plot_shaping", *trained, "--num-images", "16", "--out", picture,
        "--feature", *arguments, out=tmp_path / "feature.json",
    )  # fmt: skip
    image = np.asarray(Image.open(picture).convert("L"))
    assert image.std() > 10
    assert result["prior"] == prior
    assert result["loss"] > 0
    assert result["num_values"] >= 16
    if "gate" in arguments[0]:
        assert 0 < result["mean"] < 1


def test_errors_say_what_to_do(trained, tmp_path):
    end = ["--num-images", "4", "--out", tmp_path / "a.png"]
    error = error_of("plot_shaping", *trained, "--feature", "backbone.conv1", *end)
    assert "expected --prior, since no loss of the config shapes backbone.conv1" in error
    feature = ["--feature", "backbone.layer1.0.bn1"]
    assert "--channel below 16" in error_of(
        "plot_shaping", *trained, *feature, "--channel", "99", *end
    )
    feature = ["--feature", "backbone.layer9", "--prior", "NormalPrior"]
    assert "nearest names are" in error_of("plot_shaping", *trained, *feature, *end)


def test_learned_priors_follow_their_hyperprior(tmp_path):
    result = json_of(
        call_tool, "learn_priors", "--sets", "12", "--values", "100", "--steps", "150",
        "--frames", "2", "--picture", tmp_path / "learned.gif", out=tmp_path / "learned.json",
    )  # fmt: skip
    assert result["mean_of_probs"] == pytest.approx(0.3, abs=0.05)
    assert result["loss"][-1] < 0.1 * result["loss"][0]
    assert len(result["probs"]) == len(result["means_of_values"]) == 12
    with Image.open(tmp_path / "learned.gif") as picture:
        assert picture.n_frames == 2
