"""A network in a file gives what it gives in Python; damaged files are refused with a clause."""

import random
import resource
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sliced.small_models import images as random_images
from sliced.small_models import small_backbone
from torch import nn

from mmbas.costs import count_macs
from mmbas.gates import named_gates
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.coverage import covered_description
from mmbas.sliced.native.library import available, get_library
from mmbas.sliced.native.runtime_file import HEADER_BYTES, Head, Preparation, runtime_file
from mmbas.sliced.native.runtime_model import RuntimeModel

try:
    get_library()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 55.0, 50.0]
KERNELS = [
    (precision, each.name.lower())
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    for each in available(dtype)
]


@pytest.fixture(scope="module")
def backbone():
    return folded(small_backbone(out_indices=(0, 2)))


@pytest.fixture(scope="module")
def content(backbone):
    torch.manual_seed(1)
    head = Head([nn.Conv2d(64, 5, 1)], average=True)
    texts = {"classes": "cat\ndog", "config": "none"}
    return runtime_file(covered_description(backbone), head, Preparation(MEAN, STD), texts)


@pytest.fixture(scope="module")
def path(content, tmp_path_factory):
    file = tmp_path_factory.mktemp("runtime") / "network.mmbas"
    file.write_bytes(content)
    return file


def normalized(images):
    """As the data preprocessor does it."""
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def pixels(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize(("precision", "kernels"), KERNELS)
def test_results_are_those_of_python(path, backbone, monkeypatch, precision, kernels):
    variable = {"float32": "MMBAS_NATIVE_ISA", "bfloat16": "MMBAS_NATIVE_BF16_KERNELS"}[precision]
    monkeypatch.setenv(variable, kernels)
    own = NativeBackbone(backbone, dtype=getattr(torch, precision))
    runtime = RuntimeModel(path, precision=precision, kernels=kernels)
    assert runtime.info.kernels.decode() == kernels
    for size in ((20, 24), (33, 7)):
        x = pixels(3, 3, *size).float()
        results = runtime(x)
        features, logits = own(normalized(x), [None] * len(named_gates(backbone)))
        for actual, expected in zip(results.features, features, strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        assert torch.equal(results.gates, torch.cat(logits, dim=1) > 0)


def test_a_linear_head_on_the_average(path, backbone, content):
    x = pixels(2, 3, 20, 24).float()
    results = RuntimeModel(path)(x)
    torch.manual_seed(1)
    expected = nn.Conv2d(64, 5, 1)(results.features[-1].mean(dim=(2, 3), keepdim=True))
    torch.testing.assert_close(results.logits, expected[:, :, 0, 0], rtol=1e-5, atol=1e-5)


def test_macs_are_those_that_python_counts(path, backbone):
    x = pixels(3, 3, 20, 24).float()
    with count_macs(backbone) as count:
        backbone(normalized(x))
    head = 64 * 5
    assert RuntimeModel(path)(x).macs.tolist() == [
        macs + head for macs in count.macs(len(x)).tolist()
    ]


@pytest.mark.parametrize("positions", ["branch", "block"])
def test_gates_that_skip_whole_blocks(tmp_path, positions):
    backbone = folded(small_backbone(base_channels=4, gate_positions=positions))
    content = runtime_file(covered_description(backbone), None, Preparation(MEAN, STD), {})
    (tmp_path / "skips.mmbas").write_bytes(content)
    x = pixels(9, 3, 20, 24).float()
    with torch.no_grad(), count_macs(backbone) as count:
        expected = backbone(normalized(x))
    results = RuntimeModel(tmp_path / "skips.mmbas")(x)
    for actual, reference in zip(results.features, expected, strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-4)
    assert results.macs.tolist() == count.macs(len(x)).tolist()


def test_every_layout_and_type_is_the_same_image(path):
    runtime = RuntimeModel(path)
    x = pixels(2, 3, 20, 24)
    expected = runtime(x.float()).features[-1]
    last = x.permute(0, 2, 3, 1)
    for images, options in (
        (x, {}),
        (last, dict(channels_last=True)),
        (last.float(), dict(channels_last=True)),
        (x.flip(1), dict(bgr=True)),
        (last.flip(3), dict(channels_last=True, bgr=True)),
    ):
        actual = runtime(images, **options).features[-1]
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_a_network_that_reads_blue_first(backbone, tmp_path):
    preparation = Preparation(MEAN[::-1], STD[::-1], is_bgr=True)
    content = runtime_file(covered_description(backbone), None, preparation, {})
    (tmp_path / "bgr.mmbas").write_bytes(content)
    x = pixels(1, 3, 20, 24).float()
    (expected,) = backbone(normalized(x).flip(1))[-1:]
    results = RuntimeModel(tmp_path / "bgr.mmbas")(x)
    torch.testing.assert_close(results.features[-1], expected, rtol=1e-4, atol=1e-4)
    assert results.logits is None


def test_texts(path):
    runtime = RuntimeModel(path)
    assert (runtime.text("classes"), runtime.text("nothing")) == ("cat\ndog", None)


def sealed(content):
    """With the checksum and size that fit."""
    body = content[HEADER_BYTES:]
    return content[:12] + struct.pack("<IQ", zlib.crc32(body), len(content)) + body


DAMAGE = {
    "is no mmbas file": lambda content: b"\x7fELF" + content[4:],
    "changed on its way as text": lambda content: content.replace(b"\r\n", b"\n"),
    "is cut off: it has": lambda content: content[:-100],
    "is cut off in its header": lambda content: content[:20],
    "is no mmbas file,": lambda content: b"",
    "has more bytes than it says": lambda content: content + b"\0",
    "its checksum is another one": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "has format 2, but this library reads 1": lambda content: content[:8] + b"\2" + content[9:],
    "has no section 'network'": lambda content: sealed(content.replace(b"network", b"netwurk")),
    "section 'table' that makes no sense": lambda content: sealed(
        content[:24] + struct.pack("<I", 1 << 31) + content[28:]
    ),
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_what_is_wrong_with_a_file_is_said(content, tmp_path, reason):
    (tmp_path / "broken.mmbas").write_bytes(DAMAGE[reason](content))
    with pytest.raises(ValueError, match=f"broken.mmbas .*{reason}"):
        RuntimeModel(tmp_path / "broken.mmbas")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        RuntimeModel(tmp_path / "none.mmbas")
    with pytest.raises(ValueError, match="is no file"):
        RuntimeModel(tmp_path)


def test_words_changed_at_random_are_refused_or_run(content, tmp_path):
    """``make fuzz-files`` does it ten thousand times under sanitizers."""
    rng = random.Random(0)
    file, refused = tmp_path / "fuzzed.mmbas", 0
    for _ in range(200):
        changed = bytearray(content)
        at = rng.randrange(HEADER_BYTES // 4, 300) * 4
        changed[at : at + 4] = struct.pack("<i", rng.choice([-1, 0, 1, 3, 64, 1 << 30, -(1 << 31)]))
        file.write_bytes(sealed(bytes(changed)))
        try:
            RuntimeModel(file)(pixels(1, 3, 9, 7))
        except ValueError:
            refused += 1
    assert 0 < refused < 200


def test_unknown_kernels_are_named(path):
    with pytest.raises(ValueError, match="there are no kernels 'mmx'"):
        RuntimeModel(path, kernels="mmx")


def test_wrong_images_are_refused(path):
    runtime = RuntimeModel(path)
    with pytest.raises(ValueError, match="images of 3 channels"):
        runtime(pixels(1, 4, 9, 9))
    with pytest.raises(ValueError, match="there is no image"):
        runtime(pixels(0, 3, 9, 9))


def test_two_models_in_eight_threads(path):
    models = [RuntimeModel(path), RuntimeModel(path)]
    batches = [pixels(1 + i % 2, 3, 16 + i % 5, 20) for i in range(32)]
    expected = [models[0](batch).features[-1] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(models[i % 2], batch) for i, batch in enumerate(batches)]
    for job, reference in zip(jobs, expected, strict=True):
        torch.testing.assert_close(job.result().features[-1], reference, rtol=0, atol=0)


def test_many_calls_of_varying_sizes_keep_no_memory(path):
    runtime = RuntimeModel(path)

    def grown_by(calls):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for i in range(calls):
            runtime(random_images(1, (8 + i % 13, 8 + i % 11)))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    grown_by(300)
    assert grown_by(1500) < 8 << 10  # KiB
