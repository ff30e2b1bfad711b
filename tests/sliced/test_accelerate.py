"""accelerate(): the model behaves as before, and refuses what it cannot do."""

import copy
import pickle
import threading

import pytest
import torch

pytest.importorskip("mmpretrain")

from helpers import DIGITS, ROOT, build_model
from mmpretrain.structures import DataSample

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.costs import count_macs, uncounted_modules
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.sliced import SlicedBackbone, accelerate
from mmbas.sliced.execution_path import why_not_native
from mmbas.sliced.folding import folded

RESULTS = ("macs", "dense_macs", "params", "dense_params", "open_fraction")


@pytest.fixture(scope="module")
def classifier():
    return build_model(ROOT / DIGITS)


def no_native():
    return why_not_native(folded(GatedResNetCifar(20).eval()))


def paths():
    return ["torch"] if no_native() else ["torch", "native"]


def samples(n):
    return [DataSample().set_gt_label(0) for _ in range(n)]


@pytest.mark.parametrize("path", paths())
def test_predictions_and_their_macs_are_those_of_the_masked_model(classifier, path):
    torch.manual_seed(0)
    fast = accelerate(classifier, path=path)
    x = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = classifier.predict(x, samples(5))
        actual = fast.predict(x, samples(5))
    assert len({sample.macs for sample in expected}) > 1
    for one, other in zip(actual, expected, strict=True):
        assert [one.get(key) for key in RESULTS] == [other.get(key) for key in RESULTS]
        assert torch.equal(one.gates, other.gates)
        torch.testing.assert_close(one.pred_score, other.pred_score, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_invalid_images_are_refused_as_by_the_masked_model(classifier, path, value):
    x = torch.randn(2, 3, 32, 32)
    x[1, 0, 5, 5] = value
    for model in (classifier, accelerate(classifier, path=path)):
        with torch.no_grad(), pytest.raises(FloatingPointError, match="finite gate logits"):
            model.predict(x, samples(2))


def test_the_model_itself_is_left_alone(classifier):
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    fast = accelerate(classifier, path="torch")
    assert type(fast) is type(classifier)
    assert isinstance(fast.backbone, SlicedBackbone)
    assert not isinstance(classifier.backbone, SlicedBackbone)
    after = classifier.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_gates_keep_their_names_and_are_recorded(classifier):
    fast = accelerate(classifier, path="torch")
    assert list(named_gates(fast)) == list(named_gates(classifier))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        with record_gate_outputs(classifier) as expected:
            classifier(x)
        with record_gate_outputs(fast) as actual:
            fast(x)
            fast(x)
    for name, (output,) in expected.items():
        first, second = actual[name]
        torch.testing.assert_close(first.logits, output.logits, rtol=1e-4, atol=1e-5)
        assert torch.equal(first.gates, output.gates)
        assert list(first.convs) == list(output.convs)
        assert torch.equal(first.gates, second.gates)


def test_macs_are_counted_layer_by_layer(classifier):
    fast = accelerate(classifier, path="torch")
    counts = []
    for model in (classifier, fast):
        with torch.no_grad(), count_macs(model) as count:
            model(torch.ones(2, 3, 32, 32))
            model(torch.ones(2, 3, 20, 24))
        counts.append(count)
    assert counts[0].module_macs == counts[1].module_macs
    assert torch.equal(counts[0].macs(2), counts[1].macs(2))
    assert uncounted_modules(fast) == uncounted_modules(classifier)


def test_forced_logits_may_be_a_number_or_broadcast():
    torch.manual_seed(0)
    model = GatedResNetCifar(20).eval()
    fast = accelerate(model, path="torch")
    x = torch.randn(3, 3, 32, 32)
    name, gate = next(iter(named_gates(model).items()))
    for logits in (1.0, -1.0, {name: torch.linspace(-1, 1, gate.num_gates)}):
        with torch.no_grad(), force_gate_logits(model, logits), force_gate_logits(fast, logits):
            torch.testing.assert_close(fast(x)[0], model(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", paths())
def test_threads_may_share_a_model(path):
    torch.manual_seed(0)
    fast = accelerate(GatedResNet(18).eval(), path=path)
    images = [torch.randn(1, 3, 64, 64) for _ in range(4)]
    expected = [fast(x)[0] for x in images]
    wrong = []

    def work(i):
        for _ in range(8):
            if not torch.allclose(fast(images[i])[0], expected[i], rtol=1e-4, atol=1e-5):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("path", paths())
def test_training_is_refused(classifier, path):
    fast = accelerate(classifier, path=path)
    fast.eval()
    with pytest.raises(RuntimeError, match="expected an accelerated model to be evaluated only"):
        fast.train()
    with pytest.raises(RuntimeError, match=r"expected a model in evaluation mode.*model.eval\(\)"):
        accelerate(GatedResNetCifar(20))


@pytest.mark.parametrize("path", ["torch", "auto"])
def test_a_moved_model_works(path):
    torch.manual_seed(0)
    model = GatedResNetCifar(20).eval()
    fast = accelerate(model, path=path)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.double()(x.double())[0]
        fast.double()
        actual = fast(x.double())[0]
        assert actual.dtype == torch.float64
        torch.testing.assert_close(actual, expected)
        fast.to(torch.bfloat16)
        assert fast(x.bfloat16())[0].dtype == torch.bfloat16


def test_a_native_model_moved_where_the_kernel_cannot_follow_says_so():
    if len(paths()) == 1:
        pytest.skip(f"native kernel: {no_native()}")
    fast = accelerate(GatedResNetCifar(20).eval(), path="native")
    with pytest.raises(ValueError, match="expected a network for the native path"):
        fast.double()


def test_images_of_another_dtype_are_refused():
    fast = accelerate(GatedResNetCifar(20).eval(), path="torch")
    with pytest.raises(ValueError, match=r"expected images of torch.float32 on cpu.*float64"):
        fast(torch.randn(1, 3, 32, 32, dtype=torch.float64))


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles_work(path, duplicate):
    torch.manual_seed(0)
    fast = accelerate(GatedResNetCifar(20).eval(), path=path)
    twin = duplicate(fast)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(twin(x)[0], fast(x)[0])
    assert twin.path == fast.path
    with force_gate_logits(twin, -1.0):  # its own gates, not those of the original
        assert not torch.equal(twin(x)[0], fast(x)[0])


def test_loading_a_state_dict_is_refused(classifier):
    fast = accelerate(classifier, path="torch")
    with pytest.raises(RuntimeError, match="expected no state dict for an accelerated model"):
        fast.load_state_dict(classifier.state_dict())


def test_what_has_no_gates_or_no_path_is_refused():
    with pytest.raises(ValueError, match="expected a model with gates in a backbone of"):
        accelerate(GatedResNetCifar(20, gate=None).eval())
    with pytest.raises(ValueError, match="expected path in .*, but got 'fast'"):
        accelerate(GatedResNetCifar(20).eval(), path="fast")
    with pytest.raises(ValueError, match="but gn1 is a GroupNorm and not batch normalisation"):
        accelerate(GatedResNetCifar(20, norm_cfg=dict(type="GN", num_groups=4)).eval())
