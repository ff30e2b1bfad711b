"""Plan files: what runs they stand for, and what is wrong in them."""

import copy

import pytest
from helpers import ROOT
from mmengine.registry import HOOKS, MODELS, init_default_scope

from mmbas.experiments.plan import load_plan
from mmbas.experiments.run_state import RunFiles, run_config
from mmbas.gates import named_gates

PLAN = """
data: Digits
results: out
length: 2
overrides: {train_dataloader.num_workers: 0}
runs:
  - name: plain
    method: plain
    config: configs/resnet20_cifar10.py
    dense: true
    seeds: [0, 1]
  - name: gated_{value}
    method: gated
    config: configs/resnet20_bas_cifar10.py
    length: 3
    vary: {key: model.gate_losses.l0.loss_weight, values: [0.1, 0.2]}
    overrides: {train_dataloader.batch_size: 64}
"""


def write(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_runs(tmp_path):
    runs = load_plan(write(tmp_path, PLAN)).runs
    names = ["plain_seed0", "plain_seed1", "gated_0.1_seed0", "gated_0.2_seed0"]
    assert [run.name for run in runs] == names
    assert [run.seed for run in runs] == [0, 1, 0, 0]
    assert [run.length for run in runs] == [2, 2, 3, 3]
    assert [run.dense for run in runs] == [True, True, False, False]
    assert runs[3].overrides == {
        "train_dataloader.num_workers": 0,
        "train_dataloader.batch_size": 64,
        "model.gate_losses.l0.loss_weight": 0.2,
    }


def test_a_plain_run_from_a_gated_config(tmp_path):
    """Two settings make the plain network; the hooks for gates find nothing to do."""
    plain = "overrides: {model.backbone.gate: null, model.gate_losses: null}"
    text = PLAN.replace("overrides: {train_dataloader.batch_size: 64}", plain).replace(
        "vary: {key: model.gate_losses.l0.loss_weight, values: [0.1, 0.2]}", "dense: true"
    )
    run = load_plan(write(tmp_path, text.replace("gated_{value}", "plain_again"))).runs[2]
    config = run_config(run)
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    assert not named_gates(model)
    assert not model.gate_losses
    assert config.custom_hooks


def test_the_run_s_config_has_settings_seed_and_length(tmp_path):
    text = PLAN.replace("    length: 3\n", "    length: 3\n    seeds: [5]\n")
    config = run_config(load_plan(write(tmp_path, text)).runs[3])
    assert config.model.gate_losses.l0.loss_weight == 0.2
    assert config.train_dataloader.batch_size == 64
    assert config.randomness.seed == 5
    assert config.train_cfg.max_epochs == 3


def test_a_setting_that_replaces_another_does_so_in_every_run(tmp_path):
    scheduler = "{_delete_: true, type: CosineAnnealingLR, by_epoch: true, T_max: 500}"
    text = PLAN.replace("train_dataloader.num_workers: 0", f"param_scheduler: {scheduler}")
    runs = load_plan(write(tmp_path, text)).runs
    for run in (runs[2], runs[2], runs[3]):  # the runner makes a config more than once
        wanted = dict(type="CosineAnnealingLR", by_epoch=True, T_max=3)
        assert run_config(run).param_scheduler.to_dict() == wanted


@pytest.mark.parametrize("name", ["cifar10-recipe-search", "cifar10-recipe"])
def test_the_runs_of_the_recipe_build_and_their_windows_fit(name):
    runs = [run for run in load_plan(ROOT / f"plans/{name}.yaml").runs if run.seed == 0]
    for run in runs:
        config = run_config(run)
        init_default_scope(config.default_scope)
        model = MODELS.build(copy.deepcopy(config.model))
        losses = set(model.gate_losses)
        assert run.dense == (not losses)
        for hook in config.get("custom_hooks", []):
            HOOKS.build(hook)
            assert set(hook.get("windows", {})) <= losses
            for window in [*hook.get("windows", {}).values(), hook.get("window")]:
                assert window is None or window["end"] < run.length
        assert config.train_dataloader.drop_last
        assert config.test_dataloader.dataset.type == (
            "mmbas.HeldOut" if "search" in name else "CustomDataset"
        )
    # What is tested on must not be trained on, not by the first network and the teacher either.
    if "search" in name:
        folders = {run.name for run in runs}
        for run in runs:
            for key, value in run.overrides.items():
                if key.endswith("init_cfg.checkpoint"):
                    assert value.split("/")[1:3] in [[name, folder] for folder in folders]
            train = run_config(run).train_dataloader.dataset.dataset
            held_out = run_config(run).test_dataloader.dataset
            assert (train.part, held_out.part) == ("rest", "held_out")
            assert train.num_held_out == held_out.num_held_out


def test_settings_of_base_files_come_first_and_later_ones_win(tmp_path):
    (tmp_path / "one.yaml").write_text("{a: 1, b: 1, c: 1, train_dataloader.num_workers: 1}")
    (tmp_path / "two.yaml").write_text("{b: 2, c: 2}")
    text = PLAN.replace("\noverrides: {", "\nbase: [one.yaml, two.yaml]\noverrides: {c: 3, ")
    run = load_plan(write(tmp_path, text)).runs[0]
    assert run.overrides == {"a": 1, "b": 2, "c": 3, "train_dataloader.num_workers": 0}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "plans").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_project_s_plans_fit_their_configs_and_results(path, tmp_path):
    plan = load_plan(path)
    for run in plan.runs:
        run_config(run)
        result = plan.results / f"{run.name}.json"
        # What is finished was run with the settings that the plan has now.
        RunFiles(run, tmp_path, ROOT / result).finished()
    assert plan.results.parent.name == "results"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: [", "expected YAML in"),
        ("runs: []", "expected the keys data, results and runs"),
        (PLAN + "epochs: 3\n", r"got \['epochs'\] too"),
        (PLAN.replace("    dense: true", "    dense: true\n    gamma: 1"), r"run plain.*gamma"),
        (PLAN.replace("    method: plain\n", ""), "expected name, method and config of each run"),
        (PLAN.replace("[0.1, 0.2]", "[0.1, 0.1]"), r"\['gated_0.1_seed0'\] more than once"),
        ("base: [none.yaml]\n" + PLAN, "expected a plan at .*none.yaml"),
        (
            PLAN.replace("values: [0.1, 0.2]", "value: 0.1"),
            "expected key and a list of values in vary",
        ),
    ],
)
def test_errors_say_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_plan(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length: 2", "length: '2'", "length of type int"),
        ("length: 2", "length: true", "length of type int"),
        ("length: 2", "amp: 'false'", "amp of type bool"),
        ("dense: true", "dense: 'no'", "dense of type bool"),
        ("seeds: [0, 1]", "seeds: 3", "seeds of type list"),
        ("seeds: [0, 1]", "seeds: []", "whole numbers as seeds of plain, but got \\[\\]"),
        ("seeds: [0, 1]", "seeds: [a]", "whole numbers as seeds"),
        ("values: [0.1, 0.2]", "values: 0.1", "list of values in vary"),
        ("values: [0.1, 0.2]", "values: []", "list of values in vary"),
        ("values: [0.1, 0.2]", "values: [../../x]", "without /, which is a file's, got 'gated_../"),
        ("name: plain", "name: a/../../b", "without /, which is a file's, got 'a/../../b'"),
        ("results: out", "results: out\nbase: [1]", "names of files as base of .*, but got 1"),
        ("{train_dataloader.num_workers: 0}", "{1: 2}", r"dotted keys .* of plain, got \[1\]"),
        ("name: plain", "name: plain{value}", "where there is vary"),
        ("gated_{value}", "gated_{x}", "where there is vary"),
        (
            "overrides: {train_dataloader.num_workers: 0}",
            "overrides: [a]",
            "overrides of type dict",
        ),
        ("results: out", "results: {a: 1}", "results of type str"),
    ],
)
def test_values_of_a_wrong_type(tmp_path, old, new, message):
    assert old in PLAN
    with pytest.raises(ValueError, match=message):
        load_plan(write(tmp_path, PLAN.replace(old, new)))


def test_a_setting_that_the_config_does_not_have(tmp_path):
    text = PLAN.replace("{train_dataloader.batch_size", "{train_dataloadr.batch_size")
    with pytest.raises(ValueError, match=r"run gated_0.2_seed0, but got \['train_dataloadr'\]"):
        run_config(load_plan(write(tmp_path, text)).runs[3])


def test_each_epoch_is_saved(tmp_path):
    """The config saves every tenth; a kill must not lose ten."""
    text = PLAN.replace("resnet20_cifar10.py", "resnet20_bas_digits.py")
    assert run_config(load_plan(write(tmp_path, text)).runs[0]).default_hooks.checkpoint == {
        "interval": 1,
        "max_keep_ckpts": 2,
        "type": "CheckpointHook",
    }


def test_text_in_another_encoding(tmp_path):
    path = write(tmp_path, PLAN)
    path.write_bytes(PLAN.replace("Digits", "Prüfung").encode("latin-1"))
    with pytest.raises(ValueError, match=f"expected YAML in {path}, but got: 'utf-8'"):
        load_plan(path)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="expected a plan at .*none.yaml"):
        load_plan(tmp_path / "none.yaml")
