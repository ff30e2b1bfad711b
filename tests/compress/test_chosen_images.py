"""Which images are selected, and how often gates open for them, worked out by hand."""

import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from mmbas.compress.chosen_images import classes_of, measure_open_rates, select_images
from mmbas.gates import ChannelGate


def classified(label):
    return BaseDataElement(gt_label=torch.tensor([label]))


def segmented(*labels):
    return BaseDataElement(gt_sem_seg=PixelData(data=torch.tensor([[labels]])))


def batches():
    """Images 0 to 5 with labels 0, 1, 2, 0, 1, 2, as a list and as a tensor."""
    yield {"inputs": [0, 1, 2], "data_samples": [classified(label) for label in (0, 1, 2)]}
    yield {
        "inputs": torch.tensor([3, 4, 5]),
        "data_samples": [classified(label) for label in (0, 1, 2)],
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"classes": [1]}, [1, 4]),
        ({"classes": [0, 2], "num_images": 3}, [0, 2, 3]),
        ({"num_images": 2}, [0, 1]),
        ({"classes": [7]}, []),
    ],
)
def test_selected_images(options, expected):
    selected = list(select_images(batches(), **options))
    assert [int(image) for batch in selected for image in batch["inputs"]] == expected
    assert all(len(batch["inputs"]) == len(batch["data_samples"]) > 0 for batch in selected)


def test_classes_of_an_image():
    assert classes_of(classified(3)) == {3}
    assert classes_of(segmented(0, 4, 4, 255)) == {0, 4, 255}
    with pytest.raises(ValueError, match="expected 'gt_label' on each data sample"):
        classes_of(BaseDataElement())


class TwoGates(torch.nn.Module):
    """Leaves the gates of its input on the data samples."""

    def __init__(self):
        super().__init__()
        self.first, self.second = ChannelGate(3, 1), ChannelGate(3, 2)

    def test_step(self, batch):
        return [BaseDataElement(gates=torch.tensor(gates) > 0) for gates in batch["inputs"]]


def test_rates_are_split_by_gate():
    inputs = [[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
    rates, num_images = measure_open_rates(
        TwoGates(), [{"inputs": inputs[:3]}, {"inputs": inputs[3:]}]
    )
    assert num_images == 4
    assert {name: rate.tolist() for name, rate in rates.items()} == {
        "first": [0.75],
        "second": [0.25, 0.0],
    }
    with pytest.raises(ValueError, match="expected images to measure the gates on"):
        measure_open_rates(TwoGates(), [])
