"""A part of the data is read as the test set is, whatever wraps its data sets."""

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

from mmbas.cli.data_sets import data_loader


@TRANSFORMS.register_module(name="MarkOfTest", force=True)
class Mark:
    """Writes into each sample which pipeline it went through."""

    def __init__(self, mark):
        self.mark = mark

    def __call__(self, sample):
        return {**sample, "marks": (*sample.get("marks", ()), self.mark)}


@DATASETS.register_module(name="NumbersOfTest", force=True)
class Numbers(BaseDataset):
    """A few numbers as a data set."""

    def __init__(self, first, **arguments):
        self.first = first
        super().__init__(**arguments)

    def load_data_list(self):
        return [dict(number=self.first + i) for i in range(2)]


def numbers(first, mark="augmented"):
    pipeline = [dict(type="MarkOfTest", mark=mark)]
    return dict(type="NumbersOfTest", first=first, pipeline=pipeline)


WRAPPED = {
    "bare": (numbers(0), [0, 1]),
    "joined": (dict(type="ConcatDataset", datasets=[numbers(0), numbers(10)]), [0, 1, 10, 11]),
    "repeated": (dict(type="RepeatDataset", times=3, dataset=numbers(0)), [0, 1]),
    "joined and repeated": (
        dict(
            type="ConcatDataset",
            datasets=[
                numbers(0),
                dict(type="RepeatDataset", times=2, dataset=numbers(10)),
                dict(type="ConcatDataset", datasets=[numbers(20), numbers(30)]),
            ],
        ),
        [0, 1, 10, 11, 20, 21, 30, 31],
    ),
}


@pytest.mark.parametrize(("dataset", "expected"), WRAPPED.values(), ids=list(WRAPPED))
def test_every_data_set_of_a_part_gets_the_pipeline_of_the_test(dataset, expected):
    loader = dict(batch_size=1, num_workers=0, collate_fn=dict(type="pseudo_collate"))
    sampler = dict(type="DefaultSampler", shuffle=False)
    config = Config(
        dict(
            train_dataloader=dict(
                **loader, sampler=dict(type="DefaultSampler", shuffle=True), dataset=dataset
            ),
            test_dataloader=dict(**loader, sampler=sampler, dataset=numbers(100, "as in the test")),
        )
    )
    with DefaultScope.overwrite_default_scope("mmengine"):
        batches = list(data_loader(config, "train"))
    assert [batch["number"][0] for batch in batches] == expected
    assert {batch["marks"][0] for batch in batches} == {("as in the test",)}
    assert config.train_dataloader.dataset == dataset
