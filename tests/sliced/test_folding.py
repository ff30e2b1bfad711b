"""Only what a backbone knows to be conv + norm is folded; the rest is as it was, or is refused."""

import importlib

import pytest
import torch
from mmcv.cnn import ConvModule
from one_block import OneBlock
from sliced.small_models import assert_close, images, paths, randomize_norms, small_backbone
from torch import nn
from torch.nn import functional as F

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.backbones.description import UnsupportedError, describe
from mmbas.blocks import GatedBasicBlock
from mmbas.compress.reduction import reduce_model
from mmbas.gates import ChannelGate, Gate, GateOutput, force_gate_logits, named_gates
from mmbas.sliced import accelerate, parity
from mmbas.sliced.folding import folded

NORM = dict(type="BN")
GATE = dict(type="mmbas.ChannelGate")
NECKS = {
    "ReLU between": lambda: nn.Sequential(nn.Conv2d(64, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
    "mmcv, norm last": lambda: ConvModule(
        64, 8, 3, norm_cfg=NORM, order=("conv", "act", "norm"), bias=True
    ),
    "mmcv, norm first": lambda: ConvModule(64, 64, 3, norm_cfg=NORM, order=("norm", "conv", "act")),
    "declared in another order": lambda: DeclaredInAnotherOrder(),
}


class DeclaredInAnotherOrder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)
        self.bn = nn.BatchNorm2d(64)

    def forward(self, x):
        return self.conv2(self.bn(self.conv1(x)))


class Model(nn.Module):
    def __init__(self, backbone, neck):
        super().__init__()
        self.backbone = backbone
        self.neck = neck

    def forward(self, x):
        return self.neck(self.backbone(x)[-1])


@pytest.mark.parametrize("path", paths())
@pytest.mark.parametrize("neck", NECKS)
@torch.no_grad()
def test_necks_stay_as_they_are(neck, path):
    model = Model(small_backbone(), randomize_norms(NECKS[neck]())).eval()
    x = images()
    fast = accelerate(model, path=path)
    for logits in (1.0, -1.0):
        with force_gate_logits(model, logits), force_gate_logits(fast, logits):
            assert_close([fast(x)], [model(x)])


def test_a_layer_that_a_head_shares_with_the_backbone_is_not_folded_there():
    backbone = small_backbone()
    model = Model(backbone, nn.Sequential(nn.Conv2d(64, 3, 1), backbone.conv1)).eval()
    fast = accelerate(model, path="torch")
    x = torch.randn(1, 64, 9, 9)
    torch.testing.assert_close(fast.neck(x), model.neck(x))


NORMS = {
    "batch": dict(type="BN", eps=1e-3, momentum=None),
    "without weights": dict(type="BN", affine=False),
    "synchronised": dict(type="SyncBN"),
}


@pytest.mark.parametrize("norm", NORMS)
@torch.no_grad()
def test_every_batch_norm_folds(norm):
    model, x = small_backbone(norm_cfg=NORMS[norm]), images()
    with force_gate_logits(model, 1.0):
        expected = model(x)
    twin = folded(model)
    assert all(type(layer.norm) is nn.Identity for layer in describe(twin).layers)
    with force_gate_logits(twin, 1.0):
        assert_close(twin(x), expected)


@torch.no_grad()
def test_a_convolution_with_bias_folds_with_it():
    model = small_backbone()
    model.conv1.bias = nn.Parameter(torch.randn(16))
    with force_gate_logits(model, 1.0):
        expected = model(images())
    twin = folded(model)
    with force_gate_logits(twin, 1.0):
        assert_close(twin(images()), expected)


def test_folding_draws_no_random_numbers():
    model = small_backbone()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    accelerate(model, path="torch")
    assert torch.equal(torch.rand(1), expected)


class PreActivation(GatedBasicBlock):
    """Norm and ReLU before the convolutions."""

    def forward(self, x):
        gates = self.gate(x).gates
        inner = self.conv1(F.relu(self.norms[0](x))) * gates[:, :, None, None]
        return x + self.conv2(F.relu(self.norms[1](inner)))


class Scaled(GatedBasicBlock):
    def residual(self, x, gates):
        return 0.5 * super().residual(x, gates)


class WholeBlockGate(Gate):
    """One gate for all channels."""

    def __init__(self, in_channels, num_gates):
        super().__init__(1)

    def compute_logits(self, x):
        return x.mean(dim=(1, 2, 3))[:, None]


class TwoValuedGate(ChannelGate):
    """Gates that are not 0 or 1."""

    def forward(self, x, convs=()):
        logits = self.compute_logits(x)
        return GateOutput(logits, logits.sigmoid(), convs)


class LoRAConv(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        self.down, self.up = nn.Conv2d(16, 2, 1), nn.Conv2d(2, 16, 1)

    def forward(self, x):
        return self.conv(x) + self.up(self.down(x))


def block(kind=GatedBasicBlock, gate=GATE):
    return kind(16, 16, 16, gate=gate, norm_cfg=NORM)


def with_block(kind):
    return OneBlock(16, block(kind))


def with_gate(kind):
    made = block()
    made.gate = kind(16, 16)
    return OneBlock(16, made)


def changed(change):
    model = small_backbone()
    change(model)
    return model


def share(model, what):
    first, second = model.layer1[0], block()
    setattr(second, what, getattr(first, what))
    model.layer1.append(second)


class Normalised(GatedResNetCifar):
    def forward(self, x):
        return tuple(F.normalize(out) for out in super().forward(x))


def no_pooling():
    model = GatedResNet(18, num_stages=1, out_indices=(0,))
    model.maxpool = nn.Identity()
    return model


UNKNOWN = {
    "PreActivation block": (lambda: with_block(PreActivation), "a method forward of its own"),
    "scaled residual": (lambda: with_block(Scaled), "layer1.0 has a method residual of its own"),
    "gate of a whole block": (lambda: with_gate(WholeBlockGate), "1 gates for 16 channels"),
    "soft gates": (lambda: with_gate(TwoValuedGate), "gate has a method forward of its own"),
    "another backbone": (lambda: Normalised(8), "the backbone has a method forward of its own"),
    "no pooling": (no_pooling, "the pooling of the stem"),
    "LoRA": (
        lambda: changed(lambda m: setattr(m.layer1[0], "conv1", LoRAConv(m.layer1[0].conv1))),
        "layer1.0.conv1 is a LoRAConv",
    ),
    "patched forward": (
        lambda: changed(lambda m: setattr(m.layer1[0], "forward", lambda x: x)),
        "layer1.0 has a method forward of its own",
    ),
    "a block twice": (lambda: changed(lambda m: m.layer1.append(m.layer1[0])), "several places"),
    "a convolution twice": (lambda: changed(lambda m: share(m, "conv2")), "layer1.0.conv2 stands"),
    "a norm twice": (lambda: changed(lambda m: share(m, "bn1")), "layer1.0.bn1 stands"),
    "a gate twice": (lambda: changed(lambda m: share(m, "gate")), "layer1.0.gate stands"),
}


@pytest.mark.parametrize("path", ["torch", "auto"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_refused(name, path):
    make, reason = UNKNOWN[name]
    model = make().eval()
    with pytest.raises(UnsupportedError, match=reason):
        describe(model)
    with pytest.raises(ValueError, match=f"expected a gated backbone.*{reason}.*masked model"):
        accelerate(model, path=path)
    with pytest.raises(ValueError, match=f"expected a gated backbone.*{reason}.*to reduce it"):
        reduce_model(model, {})


def test_a_gate_of_another_kind_runs_by_torchs_operators():
    class Nearby(ChannelGate):
        def compute_logits(self, x):
            return super().compute_logits(x) + 0.25

    model = with_gate(Nearby).eval()
    fast = accelerate(model)
    assert fast.path == "torch"
    with torch.no_grad():
        assert_close(fast(images()), model(images()))


@pytest.mark.parametrize("path", paths())
def test_a_path_that_computes_otherwise_is_refused(path, monkeypatch):
    # GIVEN a class that was changed behind the description's back
    def doubled(self, x, gates):
        return 2 * original(self, x, gates)

    original = GatedBasicBlock.residual
    monkeypatch.setattr(GatedBasicBlock, "residual", doubled)
    with pytest.raises(
        ValueError, match=r"feature maps with random gates differ by .*masked model"
    ):
        accelerate(small_backbone(), path=path)


def test_a_wrong_kernel_makes_way_for_torchs_operators(monkeypatch):
    if "native" not in paths():
        pytest.skip("needs the native kernel")
    right = parity.why_not_equal
    monkeypatch.setattr(
        importlib.import_module("mmbas.sliced.accelerate"),
        "why_not_equal",
        lambda original, sliced, **_: (
            "it is off" if sliced.path == "native" else right(original, sliced)
        ),
    )
    assert accelerate(small_backbone()).path == "torch"
    with pytest.raises(ValueError, match="but it is off"):
        accelerate(small_backbone(), path="native")


def test_the_check_sees_wrong_gate_logits():
    model = small_backbone()
    fast = accelerate(model, path="torch")
    named_gates(model)["layer1.0.gate"].fc2.bias.data += 0.5
    assert "gate logits differ" in parity.why_not_equal(model, fast)
