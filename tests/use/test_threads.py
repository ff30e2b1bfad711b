"""One model serves several threads at once, as a web service uses it."""

import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmpretrain.structures import DataSample

from mmbas.gates import force_gate_logits, named_gates
from mmbas.gates.recorder import is_recording
from mmbas.models import GatedImageClassifier
from mmbas.sliced import accelerate

NUM_THREADS, NUM_CALLS = 4, 200
SHAPES = [(1, 32, 32), (3, 32, 32), (2, 24, 40), (1, 40, 24)]  # images, height, width


def classifier():
    torch.manual_seed(0)
    return GatedImageClassifier(
        backbone=dict(type="mmbas.GatedResNetCifar", depth=8, base_channels=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=10, in_channels=32),
    ).eval()


def answers(model, images):
    samples = model.predict(images, [DataSample() for _ in images])
    return [
        (
            sample.macs,
            sample.dense_macs,
            sample.params,
            sample.gates.tolist(),
            sample.pred_label.item(),
        )
        for sample in samples
    ]


@pytest.mark.parametrize("sliced", [False, True])
def test_threads_get_the_numbers_of_one_thread(sliced):
    model = classifier()
    if sliced:
        model = accelerate(model)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(n, 3, h, w, generator=generator) for n, h, w in SHAPES]
    with torch.inference_mode():
        expected = [answers(model, images) for images in batches]
    barrier = threading.Barrier(NUM_THREADS)

    def serve(thread):
        barrier.wait()
        wrong = 0
        with torch.inference_mode():
            for call in range(NUM_CALLS):
                batch = (thread + call) % len(batches)
                wrong += answers(model, batches[batch]) != expected[batch]
        return wrong

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        assert list(pool.map(serve, range(NUM_THREADS))) == [0] * NUM_THREADS
    assert not is_recording()
    assert all(len(module._forward_hooks) <= 1 for module in model.modules())


def test_a_thread_that_forces_gates_disturbs_no_other():
    model = classifier()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    free = answers(model, images)
    dense = free[0][1]

    def force(value):
        with force_gate_logits(model, value), torch.inference_mode():
            return [answers(model, images)[0] for _ in range(50)]

    def run_free(_):
        with torch.inference_mode():
            return [answers(model, images) for _ in range(50)]

    with ThreadPoolExecutor(3) as pool:
        opened, closed = pool.submit(force, 1.0), pool.submit(force, -1.0)
        untouched = pool.submit(run_free, None)
    num_gates = sum(gate.num_gates for gate in named_gates(model).values())
    assert all((macs, sum(gates)) == (dense, num_gates) for macs, _, _, gates, _ in opened.result())
    assert all(not any(gates) for _, _, _, gates, _ in closed.result())
    assert untouched.result() == [free] * 50


def test_a_model_is_accelerated_and_copied_while_others_predict():
    model = classifier()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = answers(model, images)
    done = threading.Event()

    def serve(_):
        wrong = 0
        with torch.no_grad():
            while not done.is_set():
                wrong += answers(model, images) != expected
        return wrong

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            wrong = pool.map(serve, range(2))
            try:
                fast = [accelerate(model, path="torch") for _ in range(12)]
                copies = [copy.deepcopy(model) for _ in range(3)]
            finally:
                done.set()
            assert list(wrong) == [0, 0]
    finally:
        sys.setswitchinterval(interval)
    with torch.no_grad():
        assert all(answers(each, images) == expected for each in (*fast, *copies))
