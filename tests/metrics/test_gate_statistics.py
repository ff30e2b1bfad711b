"""What is counted of gates, by hand, over batches, and over two processes."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import end_worker

from mmbas.metrics import GateStatistics
from mmbas.metrics.gate_counts import NO_IMAGE, GateCounts
from mmbas.metrics.image_outcome import image_outcomes


def sample(gates, probs=None, label=None, scores=None, **costs):
    """A classifier's data sample, as a dict, as metrics get it."""
    result = dict(gates=torch.tensor(gates) > 0, **costs)
    if probs is not None:
        result["gate_probs"] = torch.tensor(probs)
    if label is not None:
        result |= dict(gt_label=torch.tensor([label]), pred_score=torch.tensor(scores))
    return result


COSTS = dict(dense_macs=100)
# Four images of the classes 0, 1, 1, 0; the third is classified wrongly.
SAMPLES = [
    sample([1, 0, 1], [0.9, 0.1, 0.51], 0, [0.75, 0.25], macs=60.0, open_fraction=2 / 3, **COSTS),
    sample([1, 0, 0], [0.6, 0.1, 0.49], 1, [0.5, 0.5], macs=30.0, open_fraction=1 / 3, **COSTS),
    sample([1, 1, 1], [0.97, 0.8, 1.0], 1, [0.9, 0.1], macs=100.0, open_fraction=1.0, **COSTS),
    sample([1, 0, 1], [0.9, 0.0, 0.9], 0, [1.0, 0.0], macs=60.0, open_fraction=2 / 3, **COSTS),
]


def evaluated(batches, *, size=None):
    metric = GateStatistics(detailed=True)
    metric.dataset_meta = dict(classes=("cat", "dog", "unseen"))
    for batch in batches:
        metric.process(None, batch)
    metric.evaluate(size or sum(map(len, batches)))
    return metric


@pytest.mark.parametrize("batches", [[SAMPLES], [SAMPLES[:1], SAMPLES[1:3], SAMPLES[3:]]])
def test_counts_by_hand(batches):
    counts = evaluated(batches).counts
    assert counts.num_images == counts.num_probs == 4
    assert counts.num_open.tolist() == [4, 1, 3]
    torch.testing.assert_close(
        counts.prob_sums,
        torch.tensor([3.37, 1.0, 2.9], dtype=torch.float64),
        rtol=0,
        atol=1e-6,  # the probs are float32
    )
    # 0.9 lies in [0.9, 0.95), 0.6 in [0.6, 0.65), 0.97 in [0.95, 1]; 1.0 in the last bin too
    assert counts.histogram[0].nonzero().flatten().tolist() == [12, 18, 19]
    assert counts.histogram[0, [12, 18, 19]].tolist() == [1, 2, 1]
    assert counts.histogram[1].nonzero().flatten().tolist() == [0, 2, 16]
    assert counts.histogram[2].nonzero().flatten().tolist() == [9, 10, 18, 19]
    assert counts.class_images.tolist() == [2, 2, 0]
    assert counts.class_open.tolist() == [[2, 0, 2], [2, 1, 1], [0, 0, 0]]
    none = [NO_IMAGE] * 5
    assert counts.examples.tolist()[1] == [2, *none]
    assert counts.examples.tolist()[2][:4] == [0, 2, 3, NO_IMAGE]


def test_table_of_images_by_hand():
    images = evaluated([SAMPLES[:3], SAMPLES[3:]]).images
    assert [image.macs for image in images] == [60.0, 30.0, 100.0, 60.0]
    assert [image.dense_macs for image in images] == [100.0] * 4
    assert images[1].open_fraction == pytest.approx(1 / 3)
    assert [image.outcome.correct for image in images] == [1.0, 0.0, 0.0, 1.0]
    assert [image.outcome.classes for image in images] == [(0,), (1,), (1,), (0,)]
    losses = [image.outcome.loss for image in images]
    assert losses == pytest.approx([-math.log(0.75), math.log(2), -math.log(0.1), 0.0], abs=1e-6)


def test_the_histogram_is_numpys():
    torch.manual_seed(0)
    probs = torch.rand(500, 7)
    probs[:40, 0] = torch.arange(40) / 39  # ends of the range included
    counts = GateCounts(7)
    for batch in probs.split(64):
        counts.add_probs(batch)
    for gate in range(7):
        # in float32, as the probs are: 0.15 is not in the bin that ends at 0.15
        edges = np.linspace(0, 1, 21, dtype=np.float32)
        expected, _ = np.histogram(probs[:, gate].numpy(), bins=edges)
        assert counts.histogram[gate].tolist() == expected.tolist()
    torch.testing.assert_close(counts.prob_sums, probs.double().sum(dim=0), rtol=1e-12, atol=0)


def test_examples_are_the_first_six_images():
    torch.manual_seed(1)
    gates = torch.rand(60, 30) < torch.linspace(0, 1, 30)
    counts = GateCounts(30)
    for positions in torch.arange(60).split(7):
        counts.add_examples(gates[positions], 2 * positions)
    for gate in range(30):
        expected = (2 * gates[:, gate].nonzero().flatten()[:6]).tolist()
        assert counts.examples[gate].tolist() == expected + [NO_IMAGE] * (6 - len(expected))


def test_memory_does_not_grow_with_the_number_of_images():
    def held(num_batches):
        metric = GateStatistics()
        for _ in range(num_batches):
            metric.process(None, SAMPLES)
        assert metric.results == [None] * (4 * num_batches)
        return len(metric._held_back), sum(
            value.numel() for value in vars(metric._sums).values() if torch.is_tensor(value)
        )

    assert held(1) == held(50)


def test_a_second_evaluation_starts_from_nothing():
    metric = evaluated([SAMPLES])
    metric.process(None, SAMPLES[:2])
    assert metric.evaluate(2) == {
        "gates/always_on": 1 / 3,
        "gates/conditional": 1 / 3,
        "gates/always_off": 1 / 3,
    }
    assert metric.counts.num_open.tolist() == [2, 0, 1]
    assert len(metric.images) == 2


def test_without_probs_classes_and_ground_truth_the_rest_is_counted():
    plain = [dict(gates=torch.tensor([True, False]), macs=1.0, dense_macs=2, open_fraction=0.5)]
    metric = GateStatistics(detailed=True)
    metric.process(None, plain)
    assert metric.evaluate(1)["gates/always_on"] == 0.5
    assert metric.counts.num_probs == 0
    assert metric.images[0].outcome.classes == ()
    assert math.isnan(metric.images[0].outcome.loss)


def segmented(logits, labels):
    logits = torch.tensor(logits)
    predicted = logits.argmax(dim=0, keepdim=True) if len(logits) > 1 else (logits > 0.5).long()
    return dict(
        seg_logits=dict(data=logits),
        pred_sem_seg=dict(data=predicted),
        gt_sem_seg=dict(data=torch.tensor([labels], dtype=torch.uint8)),
    )


def test_segmentation_by_hand():
    # Three classes, four pixels, one of them ignored. Class 2 is not in the image. Logit
    # differences of ln 3 and 0 give probabilities of 3/5 and 1/3 for the true classes.
    high = math.log(3.0)
    logits = [[[high, 0.0], [0.0, 5.0]], [[0.0, 0.0], [high, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    (outcome,) = image_outcomes([segmented(logits, [[0, 1], [1, 255]])])
    assert outcome.classes == (0, 1)
    # pixel (0, 1): all logits are equal, class 0 is predicted instead of 1
    assert outcome.correct == pytest.approx(2 / 3)
    assert outcome.loss == pytest.approx((2 * math.log(5 / 3) + math.log(3)) / 3, abs=1e-6)


def test_segmentation_with_a_single_logit_by_hand():
    # MMSegmentation leaves its sigmoid
    (outcome,) = image_outcomes([segmented([[[0.8, 0.4]]], [[1, 1]])])
    assert outcome.classes == (1,)
    assert outcome.correct == 0.5
    assert outcome.loss == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2, abs=1e-6)


def test_an_image_without_labelled_pixels_is_unknown():
    (outcome,) = image_outcomes([segmented([[[0.0]], [[1.0]]], [[255]])])
    assert outcome.classes == ()
    assert math.isnan(outcome.correct)


def test_several_true_classes():
    label = dict(gt_label=torch.tensor([0, 2]), pred_score=torch.tensor([0.2, 0.3, 0.5]))
    (outcome,) = image_outcomes([label])
    assert outcome == ((0, 2), 1.0, pytest.approx(-math.log(0.5)))


def random_samples(num_images):
    generator = torch.Generator().manual_seed(num_images)
    probs = torch.rand(num_images, 9, generator=generator)
    scores = torch.rand(num_images, 3, generator=generator).softmax(dim=1)
    return [
        dict(
            gates=probs[i] > 0.5,
            gate_probs=probs[i],
            gt_label=torch.tensor([i % 3]),
            pred_score=scores[i],
            macs=float(i),
            dense_macs=100,
            open_fraction=0.5,
        )
        for i in range(num_images)
    ]


SIZES = (1, 7, 8)


def numbers_of(metric):
    counts = {key: getattr(metric.counts, key) for key in vars(metric.counts)}
    return counts, metric.images


def distributed_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    results = []
    for size in SIZES:
        samples = random_samples(size)
        # As DefaultSampler: filled up with the first images, dealt out in turns.
        samples += samples[: len(samples) % 2]
        own = samples[rank::2]
        results.append(numbers_of(evaluated([own[:2], own[2:]] if own[2:] else [own], size=size)))
    torch.save(results, f"{folder}/rank{rank}.pt")
    end_worker()


def test_two_processes_equal_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    for rank in range(2):
        results = torch.load(tmp_path / f"rank{rank}.pt", weights_only=False)
        for size, (counts, images) in zip(SIZES, results, strict=True):
            expected_counts, expected_images = numbers_of(evaluated([random_samples(size)]))
            # Sums of float64 in another order; everything else is exact.
            sums = counts.pop("prob_sums"), expected_counts.pop("prob_sums")
            torch.testing.assert_close(*sums, rtol=1e-14, atol=0)
            torch.testing.assert_close(counts, expected_counts, rtol=0, atol=0)
            assert len(expected_images) == size
            assert images == (expected_images if rank == 0 else [])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    distributed_worker(int(sys.argv[1]), sys.argv[2])
