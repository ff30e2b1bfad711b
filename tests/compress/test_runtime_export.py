"""Heads of the hosts in a runtime file give the hosts' logits."""

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("mmseg")

from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmseg.registry import MODELS as SEGMENTORS
from sliced.small_models import randomize_norms

from mmbas.compress.prediction import is_segmentor
from mmbas.compress.runtime_export import export_runtime, max_relative_difference
from mmbas.costs import count_macs
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import get_library
from mmbas.sliced.native.runtime_file import Preparation
from mmbas.sliced.native.runtime_model import RuntimeModel

try:
    get_library()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)

BACKBONE = dict(
    type="mmbas.GatedResNet",
    depth=18,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(0, 1),
    gate=dict(type="mmbas.ChannelGate"),
)
PLAIN = Preparation([0.0] * 3, [1.0] * 3)
COMMON = dict(in_channels=128, in_index=1, channels=16, num_classes=5, norm_cfg=dict(type="BN"))
HEADS = {
    "PSPHead": dict(type="PSPHead", pool_scales=(1, 2, 3, 6), align_corners=False, **COMMON),
    "PSPHead, corners": dict(type="PSPHead", pool_scales=(2, 3), align_corners=True, **COMMON),
    "FCNHead": dict(type="FCNHead", num_convs=2, concat_input=False, **COMMON),
    "FCNHead, no convolution": dict(
        type="FCNHead", num_convs=0, concat_input=False, **{**COMMON, "channels": 128}
    ),
}


def segmentor(head):
    torch.manual_seed(0)
    config = dict(
        type="mmbas.GatedEncoderDecoder",
        data_preprocessor=dict(type="mmseg.SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3),
        backbone=BACKBONE,
        decode_head=head,
        test_cfg=ConfigDict(mode="whole"),
    )
    with DefaultScope.overwrite_default_scope("mmseg"):  # another test may have left its own
        return randomize_norms(SEGMENTORS.build(config))


def exported(model, tmp_path):
    export = export_runtime(model, PLAIN, {})
    (tmp_path / "network.mmbas").write_bytes(export.content)
    return export, RuntimeModel(tmp_path / "network.mmbas")


@pytest.mark.parametrize("name", HEADS)
def test_dense_heads(name, tmp_path):
    model = segmentor(HEADS[name])
    export, runtime = exported(model, tmp_path)
    assert export.has_head
    for size in ((64, 96), (45, 51)):
        x = torch.randn(2, 3, *size)
        difference, num_images = max_relative_difference(model, runtime, x, x)
        assert difference < 1e-5
        assert num_images > 0
        with count_macs(model) as count:
            model(x, mode="tensor")
        assert runtime(x).macs.tolist() == count.macs(len(x)).tolist()


def test_linear_classifier(tmp_path):
    torch.manual_seed(0)
    config = dict(
        type="mmbas.GatedImageClassifier",
        backbone={**BACKBONE, "out_indices": (1,)},
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=7, in_channels=128),
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = randomize_norms(CLASSIFIERS.build(config))
    export, runtime = exported(model, tmp_path)
    assert export.has_head
    assert not is_segmentor(model)
    x = torch.randn(3, 3, 45, 51)
    assert max_relative_difference(model, runtime, x, x)[0] < 1e-5
    with count_macs(model) as count:
        model(x, mode="tensor")
    assert runtime(x).macs.tolist() == count.macs(len(x)).tolist()


def test_another_head_is_left_out_and_named(tmp_path):
    head = {**HEADS["FCNHead"], "concat_input": True}
    model = segmentor(head)
    export, runtime = exported(model, tmp_path)
    assert not export.has_head
    assert export.why_no_head == "the head FCNHead is not covered"
    x = torch.randn(1, 3, 64, 64)
    assert max_relative_difference(model, runtime, x, x)[0] < 1e-5


def test_a_backbone_without_gates_of_ours_is_refused():
    model = segmentor(HEADS["FCNHead"])
    model.backbone = torch.nn.Identity()
    with pytest.raises(ValueError, match="Identity is no backbone with gates; export ONNX"):
        export_runtime(model, PLAIN, {})
