"""Commands and snippets of README.md and docs/ work as they are printed.

Every command's arguments parse and every file that it names exists. Commands that take seconds are
run, with the shipped weights in the place of CHECKPOINT. What is not run is listed with its reason.
"""

import os
import re
import runpy
import shlex
import shutil
import sys
import warnings
from importlib.util import find_spec
from unittest import mock

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import call_tool, write_config
from mmengine.config import Config
from mmengine.registry import init_default_scope
from printed_commands import blocks, commands, script_of
from source_tree import ROOT

import mmbas
from mmbas.cli.command_line import load_config
from mmbas.cli.trained_model import load_trained_model

COMMANDS = commands()
WEIGHTS = ROOT / "mmbas" / "zoo" / "weights" / "resnet20-bas-digits.pth"

# Why a command is not run here, by a pattern that it begins with; all others are run.
NOT_RUN = {
    r"\S+$": "the name of a tool, without arguments",
    r"tools/train\.py": "minutes to days; tests/tools and test_segmentation_runs.py train",
    r"tools/quickstart\.py": "minutes; tests/tools/test_quickstart.py runs it for two epochs",
    r"tools/learn_priors\.py": "half a minute; tests/tools/test_plot_shaping.py runs it shorter",
    r"tools/reproduce\.py": "many trainings; tests/experiments runs plans",
    r"tools/benchmark_training\.py": "a timing; tests/tools/test_benchmarks.py runs it",
    r"tools/benchmark_inference\.py": "a timing; tests/tools/test_benchmarks.py runs it",
    r"tools/\w+\.py (work_dirs/)?my_images": "tests/test_tutorial.py runs the tutorial",
    r"tools/make_digit_folders\.py": "tests/test_tutorial.py runs it",
    r"tools/\w+\.py .*cityscapes\.py": "needs Cityscapes",
    r"tools/test\.py configs/pspnet": "needs a training; test_segmentation_runs.py does both",
    r"tools/reduce\.py configs/pspnet": "needs CamVid",
    r"tools/reduce\.py work_dirs": "needs a run of a plan",
    r"tools/\w+\.py .*street_boxes": "needs a training; tests/hosts/test_detection.py does it",
    r"tools/analyze_gates\.py": "tests/tools/test_analyze_gates.py runs it",
    r"tools/(reduce|match_macs|export_onnx)\.py .* FILE": "as with names of files, which is run",
    r"tools/make_street_scenes\.py (data/large|DIR)": "as with data/street_scenes",
    r"tools/update_tables\.py": "writes into texts; tests/experiments/test_result_tables.py",
    r"tools/plot_tradeoff\.py RESULTS": "results of yours; with ours it is run",
    r"tools/pack_weights\.py": "writes into the package; tests/zoo runs it",
    r"tools/test\.py CONFIG FILE": "FILE is what pack_weights.py writes",
    r"demo/": "tests/test_demo.py runs it",
    r"docs/": "writes into docs/; tests/test_docs.py runs it",
    r"benchmarks/": "timings",
}
RUN = [
    command
    for command in COMMANDS
    if not any(re.match(f"python {pattern}", command) for pattern in NOT_RUN)
]


def arguments_of(command):
    """The arguments, with numbers in the place of words for sizes, and texts for the rest."""
    words = shlex.split(command.replace("...", ""))[2:]
    numbers = {"HEIGHT": "32", "WIDTH": "32", "P": "0.5", "N": "10", "GPUS": "1"}
    return [numbers.get(word, word) for word in words]


def test_there_are_commands():
    assert len(COMMANDS) > 30
    assert len(RUN) >= 8


def test_every_reason_is_needed():
    unused = [key for key in NOT_RUN if not any(re.match(f"python {key}", c) for c in COMMANDS)]
    assert unused == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_arguments_of_a_command_parse(command, monkeypatch):
    script = script_of(command)
    path = ROOT / script
    assert path.is_file(), COMMANDS[command]
    functions = runpy.run_path(str(path), run_name="printed")
    if "parse_args" not in functions or re.fullmatch(r"python \S+", command):
        return
    monkeypatch.setattr(sys, "argv", [script, *arguments_of(command)])
    with mock.patch.dict(os.environ):
        try:
            functions["parse_args"]()
        except SystemExit as end:
            pytest.fail(f"{COMMANDS[command]}: {command} exits with {end.code}")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_files_that_a_command_names_exist(command):
    for word in arguments_of(command):
        if word.startswith(("configs/", "plans/", "results/", "demo/")):
            assert list(ROOT.glob(word)), f"{COMMANDS[command]}: {word}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder like a checkout, with a small config as CONFIG and shipped weights as CHECKPOINT."""
    folder = tmp_path_factory.mktemp("printed")
    for name in ("configs", "tools", "results", "demo"):
        (folder / name).symlink_to(ROOT / name)
    write_config(folder, name="CONFIG.py")
    shutil.copy(WEIGHTS, folder / "CHECKPOINT.pth")
    (folder / "work_dirs" / "quickstart").mkdir(parents=True)
    shutil.copy(WEIGHTS, folder / "work_dirs" / "quickstart" / "epoch_40.pth")
    return folder


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs_as_it_is_printed(command, place):
    stand_ins = {"CONFIG": "CONFIG.py", "CHECKPOINT": "CHECKPOINT.pth", "DIR": "dir"}
    arguments = [stand_ins.get(word, word) for word in arguments_of(command)]
    patterns = [sorted(map(str, place.glob(word))) or [word] for word in arguments]
    expanded = [word for words in patterns for word in words]
    relative = [word.removeprefix(f"{place}/") for word in expanded]
    name = script_of(command).removeprefix("tools/").removesuffix(".py")
    call_tool(name, *relative, folder=place)


def python_blocks():
    return {block.place: block for block in blocks() if block.language == "python"}


@pytest.mark.parametrize("location", python_blocks())
def test_a_snippet_is_python(location):
    content = python_blocks()[location].content
    compile(content.replace("..., ", "").replace(", ...", ""), location, "exec")


# A snippet by something that only it says, and what must be there before it runs.
@pytest.mark.parametrize("sign", ["fast = accelerate(model", "match_macs(model, batches"])
def test_a_snippet_on_a_model_runs(sign, place):
    config = load_config(str(place / "CONFIG.py"))
    init_default_scope(config.default_scope)
    found = [block for block in python_blocks().values() if sign in block.content]
    assert found
    for block in found:
        model = load_trained_model(config, str(WEIGHTS))
        samples = dict(inputs=torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8))
        batches = [{**samples, "data_samples": [data_sample(i) for i in range(8)]}]
        names = dict(model=model, batches=batches)
        exec(compile(block.content, block.place, "exec"), names)
        assert "fast" in names or 0 < names["reached"] < 1


def data_sample(label):
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(label)


def test_the_snippet_of_checkpoints_loads_one(place, monkeypatch):
    pytest.importorskip("mmengine.runner.checkpoint")
    (block,) = (b for b in python_blocks().values() if "get_torch_safe_globals" in b.content)
    monkeypatch.chdir(place / "work_dirs" / "quickstart")
    names = dict(torch=torch)
    try:
        exec(compile(block.content, block.place, "exec"), names)
    except ImportError:
        pytest.skip("the original distribution has no such function")
    assert "state_dict" in names["checkpoint"]


def test_the_snippet_of_the_weights_predicts(capsys):
    (block,) = (b for b in python_blocks().values() if "mmbas.load(" in b.content)
    exec(compile(block.content, block.place, "exec"), {})
    assert re.search(r"tensor\(\[\d\]\) 0\.\d+ torch\.Size\(\[336\]\)", capsys.readouterr().out)
    assert mmbas.load is not None


def drop_in():
    """The snippets that switch a config over."""
    sign = re.compile(r"^model = dict\(\s+type=.mmbas\.Gated", re.MULTILINE)
    return [block for block in python_blocks().values() if sign.search(block.content)]


@pytest.mark.parametrize("block", drop_in(), ids=lambda block: block.place)
def test_a_drop_in_snippet_names_what_there_is(block):
    """Registered types, and arguments that they take; tests/hosts trains with it."""
    names = {}
    exec(compile(block.content, block.place, "exec"), names)
    model = names["model"]
    assert model["gate_losses"]
    if model.get("host", "").startswith("mmdet") and find_spec("mmdet") is None:
        pytest.skip("MMDetection is not installed")
    from mmbas.registry import MODELS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert MODELS.get(model["type"]) is not None
        assert MODELS.build({**model["backbone"], "depth": 18}).gate is not None
        for loss in model["gate_losses"].values():
            assert MODELS.build(loss).loss_weight > 0
    Config(dict(model=model)).pretty_text  # noqa: B018 - it can be written
