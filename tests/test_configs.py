"""Every config parses, builds and computes a loss; inheritance and overrides do what they say."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mmpretrain")

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, init_default_scope
from mmpretrain.structures import DataSample

CONFIG_DIR = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(
    path.name
    for path in CONFIG_DIR.glob("*.py")
    if path.name != "default_runtime.py"
    and not path.name.startswith("pspnet")  # tests/test_segmentation_configs.py
    and not path.name.startswith(("retinanet", "faster_rcnn"))  # tests/test_detection.py
    and not path.name.endswith("_imagenet.py")  # tests/test_imagenet_configs.py
)
WEIGHT_DECAY = 5e-4


def load_config(name: str) -> Config:
    config = Config.fromfile(CONFIG_DIR / name)
    init_default_scope(config.default_scope)
    return config


def build_model(config: Config) -> torch.nn.Module:
    return MODELS.build({**config.model, "data_preprocessor": dict(config.data_preprocessor)})


def decay_by_parameter(config: Config, model: torch.nn.Module) -> dict[str, float]:
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    return {name: decays[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("*_*.py")), ids=lambda path: path.stem)
def test_no_training_batch_is_smaller_than_the_others(path):
    # Custom imports would give this process operators that the others lack.
    loader = Config.fromfile(path, import_custom_modules=False).get("train_dataloader")
    assert path.name == "default_runtime.py" or loader.get("batch_sampler", loader).drop_last


def test_the_experiments_of_the_paper_are_there():
    assert {
        "resnet20_cifar10.py",
        "resnet32_cifar10.py",
        "resnet20_bas_cifar10.py",
        "resnet32_bas_cifar10.py",
        "resnet20_l0_cifar10.py",
        "resnet32_l0_cifar10.py",
        "resnet20_bas-fixed_cifar10.py",
        "resnet20_bas_w10_cifar10.py",
        "resnet20_bas_w20_cifar10.py",
        "resnet20_bas_cifar10_folder.py",
        "resnet20_bas_cifar10_batched.py",
        "resnet20_bas_digits.py",
        "resnet20_target-macs_cifar10.py",
        "resnet20_target-macs_cifar10_folder.py",
        "resnet20_recipe_cifar10.py",
        "resnet32_recipe_cifar10.py",
    } <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_config_computes_losses_and_a_gradient(name):
    config = load_config(name)
    model = build_model(config).train()
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8) for _ in range(4)],
        data_samples=[DataSample().set_gt_label(i) for i in range(4)],
    )

    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()

    entries = config.model.get("gate_losses") or {}
    names = {"bas": "loss_bas", "l0": "loss_gate_l0", "target": "loss_target_macs"}
    wanted = {names[key] for key, entry in entries.items() if entry is not None}
    task = "loss_task" if wanted else "loss"  # with gate losses the host's own has its own name
    shaping = config.model.get("shaping_losses") or {}
    wanted |= {f"loss_shaping_{key}" for key in shaping}
    task = "loss_task" if wanted else task
    prior = (entries.get("bas") or {}).get("prior") or {}
    if "LearnedPrior" in prior.get("type", ""):
        wanted.add("loss_bas_hyper")
    if "target" in entries:  # the recipe that is not the paper's
        wanted |= {"macs_fraction", "loss_distill"}
    assert set(losses) == {task} | wanted
    assert torch.isfinite(total)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_hooks_and_metrics_build_and_windows_name_losses_of_the_model(name):
    config = load_config(name)
    entries = config.model.get("gate_losses") or {}
    losses = {key for key, entry in entries.items() if entry is not None}
    losses |= set(config.model.get("shaping_losses") or {})

    for hook in config.get("custom_hooks", []):
        HOOKS.build(hook)
        assert set(hook.get("windows", {})) <= losses
    for metric in config.test_evaluator:
        METRICS.build(metric)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_header_tells_the_papers_number_ours_the_command_and_the_knob(name):
    text = (CONFIG_DIR / name).read_text(encoding="utf-8")
    header = text.split("_base_")[0]

    assert "# Paper: " in header
    assert f"python tools/train.py configs/{name}" in header
    assert "Ours: " in header or name == "resnet20_bas_digits.py"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_gate_parameters_have_no_weight_decay_and_all_others_keep_theirs(name):
    config = load_config(name)
    decays = decay_by_parameter(config, build_model(config))
    gates = {key for key in decays if ".gate." in key}
    learned = {key for key in decays if key.startswith("gate_losses.")}  # parameters of priors

    assert bool(gates) == (config.model.backbone.gate is not None)
    assert {decays[key] for key in gates | learned} <= {0.0}
    assert {decays[key] for key in decays.keys() - gates - learned} == {WEIGHT_DECAY}


def test_the_weight_decay_test_can_fail():
    config = load_config("resnet20_bas_cifar10.py")
    model = build_model(config)

    # Without the custom key the gates decay; with norm_decay_mult the norms outside gates do not.
    config.optim_wrapper.paramwise_cfg = dict(bias_decay_mult=1.0)
    assert set(decay_by_parameter(config, model).values()) == {WEIGHT_DECAY}
    config.optim_wrapper.paramwise_cfg = dict(
        norm_decay_mult=0.0, custom_keys={".gate.": dict(decay_mult=1.0)}
    )
    decays = decay_by_parameter(config, model)
    assert decays["backbone.bn1.weight"] == 0.0
    # The custom key wins over norm_decay_mult, silently: the trap that the configs avoid.
    gate_norms = [key for key in decays if ".gate." in key and "norm" in key]
    assert gate_norms
    assert {decays[key] for key in gate_norms} == {WEIGHT_DECAY}


def test_gamma_is_one_override():
    config = load_config("resnet20_bas_cifar10.py")
    config.merge_from_dict({"model.gate_losses.l0.loss_weight": 0.1})
    model = build_model(config)

    assert model.gate_losses["l0"].loss_weight == 0.1
    assert model.gate_losses["bas"].loss_weight == 0.75


def test_the_affordable_macs_are_one_override():
    config = load_config("resnet20_target-macs_cifar10.py")
    config.merge_from_dict({"model.gate_losses.target.target": 0.4})
    assert build_model(config).gate_losses["target"].target == 0.4


def test_the_target_macs_recipe_starts_from_the_plain_network_and_learns_from_it():
    config = load_config("resnet20_target-macs_cifar10.py")
    plain = load_config("resnet20_cifar10.py")
    assert config.model.init_cfg == config.model.teacher.init_cfg
    assert config.model.teacher.backbone == plain.model.backbone
    epochs = plain.train_cfg.max_epochs
    assert config.model.init_cfg.checkpoint == f"work_dirs/resnet20_cifar10/epoch_{epochs}.pth"
    # both can be left out on the command line
    config.merge_from_dict({"model.init_cfg": None, "model.teacher": None})
    assert build_model(config).teacher is None


@pytest.mark.parametrize("depth", [20, 32])
def test_the_recipe_ends_with_the_gates_of_evaluation(depth):
    config = load_config(f"resnet{depth}_recipe_cifar10.py")
    plain = load_config(f"resnet{depth}_cifar10.py")
    epochs = plain.train_cfg.max_epochs
    weights = f"work_dirs/resnet{depth}_cifar10/epoch_{epochs}.pth"
    assert (config.model.init_cfg.checkpoint, config.model.backbone.depth) == (weights, depth)
    teacher = config.model.teacher
    assert teacher.init_cfg.checkpoint == f"work_dirs/resnet32_cifar10/epoch_{epochs}.pth"
    assert teacher.backbone == load_config("resnet32_cifar10.py").model.backbone
    (noise,) = (hook.window for hook in config.custom_hooks if "Noise" in hook.type)
    shares = [noise[key] / config.train_cfg.max_epochs for key in ("begin", "end")]
    assert shares == [0.4, 0.7]
    assert (noise.start_factor, noise.end_factor) == (1.0, 0.0)


def test_a_window_is_one_override():
    config = load_config("resnet20_bas_cifar10.py")
    config.merge_from_dict({"custom_hooks.0.windows.bas.end": 20}, allow_list_keys=True)

    assert config.custom_hooks[0].windows.bas.end == 20
    assert config.custom_hooks[0].windows.l0.begin == 100


def test_the_schedule_is_the_papers():
    config = load_config("resnet32_bas_cifar10.py")
    optimizer, windows = config.optim_wrapper.optimizer, config.custom_hooks[0].windows

    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ("SGD", 0.1, 0.9)
    assert optimizer.nesterov
    assert config.train_cfg.max_epochs == 500
    assert config.train_dataloader.batch_size == 256
    assert config.param_scheduler.milestones == [300, 375, 450]
    assert (windows.bas.begin, windows.bas.end) == (0, 100)
    assert (windows.l0.begin, windows.l0.end) == (100, 300)
    assert config.model.backbone.depth == 32


def test_class_folders_replace_the_images_and_nothing_else(tmp_path):
    plain = load_config("resnet20_bas_cifar10.py")
    folder = load_config("resnet20_bas_cifar10_folder.py")

    replaced = {"train_dataloader", "val_dataloader", "test_dataloader", "data_preprocessor"}
    for key in plain.keys() - replaced:
        assert folder[key] == plain[key], key
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert {**folder[key], "dataset": None} == {**plain[key], "dataset": None}
        assert folder[key].dataset.type == "CustomDataset"
    # A dumped config is what a run keeps: it must read back as itself.
    folder.dump(tmp_path / "dumped.py")
    assert Config.fromfile(tmp_path / "dumped.py").to_dict() == folder.to_dict()


def test_class_folders_give_the_same_tensor_as_the_array(tmp_path):
    cv2 = pytest.importorskip("cv2")
    config = load_config("resnet20_bas_cifar10_folder.py")
    rgb = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8).numpy()
    for name in config.test_dataloader.dataset.metainfo.classes:
        (tmp_path / "test" / name).mkdir(parents=True)
    # PNG keeps every pixel, so the two ways into the network must agree exactly.
    cv2.imwrite(str(tmp_path / "test" / "truck" / "0000.png"), rgb[..., ::-1])

    dataset = DATASETS.build({**config.test_dataloader.dataset, "data_root": str(tmp_path)})
    packed = dataset[0]
    from_folder = build_model(config).data_preprocessor(
        dict(inputs=[packed["inputs"]], data_samples=[packed["data_samples"]])
    )
    plain = load_config("resnet20_bas_cifar10.py")
    array = torch.from_numpy(rgb).permute(2, 0, 1)
    from_array = build_model(plain).data_preprocessor(dict(inputs=[array]))

    assert packed["data_samples"].gt_label.item() == 9
    torch.testing.assert_close(from_folder["inputs"], from_array["inputs"], rtol=0, atol=0)


def test_the_model_index_names_every_config():
    yaml = pytest.importorskip("yaml")
    root = CONFIG_DIR.parent
    index = yaml.safe_load((root / "model-index.yml").read_text(encoding="utf-8"))
    collections = {collection["Name"] for collection in index["Collections"]}

    for model in index["Models"]:
        assert model["Config"] == f"configs/{model['Name']}.py"
        assert model["In Collection"] in collections
    experiments = {path.stem for path in CONFIG_DIR.glob("*.py")} - {"default_runtime"}
    assert {model["Name"] for model in index["Models"]} == experiments
