"""Crops of whole batches: what the pipeline that goes image by image draws, for every image."""

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import call_tool, run_tool, write_config
from mmengine.registry import FUNCTIONS, init_default_scope
from mmengine.runner import Runner
from torch.nn import functional as F

from mmbas.datasets import BatchedCrops, Digits
from mmbas.registry import DATASETS

NUM_IMAGES = 40
PACK = [dict(type="PackInputs")]
DIGITS = dict(type="mmbas.Digits", split="train", indices=NUM_IMAGES, pipeline=PACK)
BATCHED = dict(type="mmbas.BatchedCrops", padding=4, flip_prob=0.5, dataset=DIGITS)
LOADER = dict(
    batch_size=8,
    sampler=dict(type="DefaultSampler", shuffle=True, seed=0),
    collate_fn=dict(type="mmbas.keep_batch"),
)


@pytest.fixture(autouse=True)
def host_scope():
    init_default_scope("mmpretrain")  # where PackInputs is registered


def images_and_labels():
    digits = Digits("train", indices=NUM_IMAGES)
    images = [torch.from_numpy(digits[i]["img"]).permute(2, 0, 1) for i in range(NUM_IMAGES)]
    return images, [digits[i]["gt_label"] for i in range(NUM_IMAGES)]


def test_without_augmentation_a_batch_is_the_images_and_their_labels():
    images, labels = images_and_labels()
    batch = BatchedCrops(DIGITS).__getitems__([7, 0, 39])

    assert torch.equal(batch["inputs"], torch.stack([images[7], images[0], images[39]]))
    assert batch["inputs"].dtype == torch.uint8
    assert [sample.gt_label.item() for sample in batch["data_samples"]] == [
        labels[7],
        labels[0],
        labels[39],
    ]


def test_every_image_is_one_of_its_crops_and_all_of_them_come_up_alike():
    images, _ = images_and_labels()
    dataset = BatchedCrops(DIGITS, padding=1, flip_prob=0.25)
    padded = F.pad(images[3], (1, 1, 1, 1))
    crops = [padded[:, y : y + 32, x : x + 32] for y in range(3) for x in range(3)]
    expected = [crop.flip(-1) if flip else crop for flip in (False, True) for crop in crops]
    torch.manual_seed(0)
    drawn = dataset.__getitems__([3] * 3600)["inputs"]

    counts = torch.tensor([(drawn == crop).flatten(1).all(1).sum().item() for crop in expected])
    assert counts.sum() == 3600  # all of them differ, so no image is counted twice
    # 300 of each crop and 100 of each mirrored one; binomial, 5 standard deviations.
    torch.testing.assert_close(counts[:9].float(), torch.full((9,), 300.0), rtol=0, atol=85)
    torch.testing.assert_close(counts[9:].float(), torch.full((9,), 100.0), rtol=0, atol=50)


def test_images_of_a_batch_are_cropped_and_flipped_each_on_its_own():
    images, _ = images_and_labels()
    torch.manual_seed(0)
    batch = BatchedCrops(DIGITS, padding=4, flip_prob=0.5).__getitems__([0] * 64)["inputs"]

    assert len({image.numpy().tobytes() for image in batch}) > 40  # of 162 possible ones
    assert torch.equal(BatchedCrops(DIGITS)[5]["inputs"], images[5])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_image_once_and_the_same_again_from_the_same_seed(workers):
    _, labels = images_and_labels()

    def epoch():
        torch.manual_seed(3)
        loader = Runner.build_dataloader(
            dict(LOADER, num_workers=workers, dataset=BATCHED), seed=None if workers == 0 else 3
        )
        return list(loader)

    first, second = epoch(), epoch()
    seen = [sample.gt_label.item() for batch in first for sample in batch["data_samples"]]
    assert sorted(seen) == sorted(labels)
    assert [batch["inputs"].shape for batch in first] == [(8, 3, 32, 32)] * 5
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["inputs"], other["inputs"])


def test_a_training_runs_and_resumes_bitwise(tmp_path):
    """Also that MMPretrain's preprocessor normalises a whole batch, labels included."""
    loader = dict(
        batch_size=16,
        collate_fn=dict(type="mmbas.keep_batch"),
        dataset=dict(_delete_=True, **BATCHED),
    )
    lines = f"train_dataloader = {loader}\ntrain_cfg = dict(max_epochs=2)\n"
    config = write_config(tmp_path, lines)
    kill = (
        'custom_imports = dict(imports=["helpers"])\n'
        'default_hooks = dict(kill=dict(type="KillHook", iteration=3))'  # an epoch has 2
    )
    killed = write_config(tmp_path, lines + kill, name="killed.py")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    call_tool("train", config, "--work-dir", whole)
    run_tool("train", killed, "--work-dir", cut, expect=-9)
    call_tool("train", config, "--work-dir", cut, "--resume")

    one, other = (
        torch.load(folder / "epoch_2.pth", weights_only=False)["state_dict"]
        for folder in (whole, cut)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(padding=-1), "whole number >= 0, pixels on each side, but got -1"),
        (dict(padding=(4, 4)), r"but got \(4, 4\)"),
        (dict(flip_prob=1.5), "between 0 and 1, but got 1.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        BatchedCrops(DIGITS, **options)


def test_images_of_several_sizes_name_the_first_that_differs():
    class Sizes(Digits):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "inputs": sample["inputs"][:, : 32 - (index == 2)]}

    DATASETS.register_module(name="SizesForTest", module=Sizes, force=True)
    with pytest.raises(ValueError, match=r"shape \(3, 32, 32\) and image 2 \(3, 31, 32\)"):
        BatchedCrops({**DIGITS, "type": "mmbas.SizesForTest"})


def test_an_empty_data_set():
    class Empty(Digits):
        def __len__(self):
            return 0

    DATASETS.register_module(name="EmptyForTest", module=Empty, force=True)
    with pytest.raises(ValueError, match="its data set is empty"):
        BatchedCrops({**DIGITS, "type": "mmbas.EmptyForTest"})


@pytest.mark.parametrize("collate", ["pseudo_collate", "default_collate"])
def test_a_loader_that_joins_samples_says_what_it_needs(collate):
    loader = dict(LOADER, num_workers=0, dataset=BATCHED, collate_fn=dict(type=collate))
    with pytest.raises(ValueError, match=r"expected collate_fn=dict\(type='mmbas.keep_batch'\)"):
        next(iter(Runner.build_dataloader(loader)))


def test_single_samples_do_not_pass_as_a_batch():
    with pytest.raises(ValueError, match="got single samples; use it with mmbas.BatchedCrops"):
        FUNCTIONS.get("mmbas.keep_batch")([{"inputs": torch.zeros(3, 4, 4)}])
