"""Gate losses and MACs in MMSegmentation's encoder-decoder."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmbas.costs import count_macs
from mmbas.gates import force_gate_logits

NORM = dict(type="BN", requires_grad=True)
DILATED = dict(
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1),
    norm_cfg=NORM,
    norm_eval=False,
    style="pytorch",
    contract_dilation=True,
)
GATE_LOSSES = dict(
    bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.2),
)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def pspnet(segmentor, backbone, *, depth=18, **arguments):
    torch.manual_seed(0)
    head = dict(
        type="PSPHead",
        in_channels=512 if depth == 18 else 2048,
        in_index=3,
        channels=32,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.0,
        num_classes=19,
        norm_cfg=NORM,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0),
    )
    return MODELS.build(
        dict(
            type=segmentor,
            backbone=dict(depth=depth, **backbone, **DILATED),
            decode_head=head,
            data_preprocessor=dict(type="SegDataPreProcessor"),
            test_cfg=ConfigDict(mode="whole"),
            **arguments,
        )
    )


def gated(depth=18):
    backbone = dict(type="mmbas.GatedResNet", deep_stem=True)
    return pspnet("mmbas.GatedEncoderDecoder", backbone, depth=depth, gate_losses=GATE_LOSSES)


def samples(n, size):
    result = []
    for _ in range(n):
        labels = torch.randint(0, 19, (1, *size))
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size)
        result.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels)))
    return result


def test_gate_losses_join_the_hosts():
    model = gated()
    losses = model.loss(torch.randn(2, 3, 64, 96), samples(2, (64, 96)))
    assert {"decode.loss_ce", "loss_bas"} <= set(losses)
    assert losses["loss_bas"].requires_grad


def test_macs_are_those_of_the_whole_segmentor():
    model = gated().eval()
    x = torch.randn(2, 3, 64, 96)
    predicted = model.predict(x, samples(2, (64, 96)))
    with count_macs(model) as count:
        model(x)
    head = sum(m for name, m in count.module_macs.items() if name.startswith("decode_head")) // 2
    assert head > 0
    for sample in predicted:
        assert sample.dense_macs == count.dense_macs(2)
        assert head < sample.macs < sample.dense_macs
    assert [sample.macs for sample in predicted] == count.macs(2).tolist()


def test_sliding_window_counts_every_pass():
    model = gated().eval()
    model.test_cfg.update(mode="slide", crop_size=(64, 64), stride=(32, 32))
    x = torch.randn(1, 3, 64, 96)
    sample = model.predict(x, samples(1, (64, 96)))[0]
    macs = []
    for window in (x[..., :64], x[..., 32:]):
        with torch.no_grad(), count_macs(model) as count:
            model(window)
        macs.append(count.macs(1).item())
        assert sample.dense_macs == 2 * count.dense_macs(1)
    assert macs[0] != macs[1]
    assert sample.macs == pytest.approx(sum(macs), rel=1e-6)


def versions_of_two_images():
    """Three scales of two images, each with its mirror image, as TestTimeAug and collate make them.

    As in a data set of mixed sizes there is one image per batch.
    """
    for size in ((64, 96), (47, 81)):
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        inputs, data_samples = [], []
        for scale in ((32, 48), size, (65, 97)):
            resized = torch.nn.functional.interpolate(image[None].float(), scale)[0]
            for flip in (False, True):
                inputs.append(resized.flip(-1) if flip else resized)
                (sample,) = samples(1, scale)
                sample.set_metainfo(
                    dict(ori_shape=size, flip=flip, flip_direction="horizontal", img_path="a.png")
                )
                data_samples.append(sample)
        yield pseudo_collate([dict(inputs=inputs, data_samples=data_samples)])


def test_multi_scale_and_flip_count_every_pass():
    model = gated().eval()
    tta = MODELS.build(dict(type="mmbas.GatedSegTTAModel", module=model))
    host = MODELS.build(dict(type="SegTTAModel", module=model))
    for data in versions_of_two_images():
        single = []
        for images in data["inputs"]:
            with torch.no_grad(), count_macs(model) as count:
                model(torch.stack(images))
            single.append(
                (count.macs(1).item(), count.dense_macs(1), count.image_costs(1).gates[0])
            )
        with torch.no_grad():
            expected = host.test_step(data)[0].pred_sem_seg.data
            (merged,) = tta.test_step(data)

        assert len(single) == 6
        assert len({macs for macs, _, _ in single}) > 3  # scales, and gates that see mirror images
        assert merged.macs == pytest.approx(sum(macs for macs, _, _ in single), rel=1e-12)
        assert merged.dense_macs == sum(dense for _, dense, _ in single)
        in_any = torch.stack([gates for _, _, gates in single]).any(dim=0)
        assert torch.equal(merged.gates, in_any)
        assert merged.open_fraction == pytest.approx(in_any.float().mean().item())
        assert torch.equal(merged.pred_sem_seg.data, expected)


def test_multi_scale_test_of_a_plain_network_counts_too():
    plain = dict(type="mmbas.GatedResNet", deep_stem=True, gate=None)
    model = pspnet("mmbas.GatedEncoderDecoder", plain).eval()
    tta = MODELS.build(dict(type="mmbas.GatedSegTTAModel", module=model))
    with torch.no_grad():
        (merged,) = tta.test_step(next(versions_of_two_images()))
    assert merged.macs == merged.dense_macs > 0
    assert (len(merged.gates), merged.open_fraction) == (0, 1.0)


@pytest.mark.parametrize("depth", [18, 50])
def test_bitwise_equal_to_the_host_with_open_gates(depth):
    theirs = pspnet("EncoderDecoder", dict(type="ResNetV1c"), depth=depth).eval()
    ours = gated(depth).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(2, 3, 65, 89)
    with torch.no_grad(), force_gate_logits(ours, 1.0):
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("depth", [18, 50])
def test_a_step_of_training_is_the_hosts_with_open_gates(depth):
    theirs = pspnet("EncoderDecoder", dict(type="ResNetV1c"), depth=depth).train()
    ours = gated(depth).train()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    torch.manual_seed(1)
    x, data_samples = torch.randn(2, 3, 33, 41), samples(2, (33, 41))
    with force_gate_logits(ours, 100.0):
        ours_loss = ours.loss(x, data_samples)["decode.loss_ce"]
    theirs_loss = theirs.loss(x, data_samples)["decode.loss_ce"]
    ours_loss.backward()
    theirs_loss.backward()

    assert torch.equal(ours_loss, theirs_loss)
    gradients = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=0, atol=0)
