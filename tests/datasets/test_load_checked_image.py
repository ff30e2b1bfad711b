"""Loading images: truncated files are named, all kinds of JPEG come out in colour."""

import io

import numpy as np
import pytest

pytest.importorskip("mmcv")
pytest.importorskip("PIL")

from mmengine.registry import TRANSFORMS
from PIL import Image

from mmbas.datasets import is_truncated

# Blocks of 16 pixels, which JPEG at quality 95 keeps to a few grey levels.
COLOURS = np.array(
    [[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [200, 180, 40]]], dtype=np.uint8
)
PICTURE = np.kron(COLOURS, np.ones((16, 16, 1), dtype=np.uint8))


def encoded(picture=PICTURE, mode="RGB", form="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def load(path, **options):
    transform = TRANSFORMS.build(dict(type="mmbas.LoadCheckedImage", **options))
    results = transform(dict(img_path=str(path)))
    return results and results["img"]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_all_colour_modes_come_out_as_three_channels(tmp_path, mode, progressive):
    path = tmp_path / "picture.jpg"
    options = dict(quality=95, subsampling=0) if mode == "RGB" else dict(quality=95)
    path.write_bytes(encoded(mode=mode, progressive=progressive, **options))
    image = load(path)
    expected = np.asarray(Image.fromarray(PICTURE).convert(mode).convert("RGB"))
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    # the centres of the blocks, blue first as OpenCV has it
    difference = image[8::16, 8::16, ::-1].astype(int) - expected[8::16, 8::16]
    assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("progressive", [False, True])
def test_every_truncation_of_a_jpeg_is_found(progressive):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    data = encoded(noise, progressive=progressive)
    assert not is_truncated(data)
    assert not is_truncated(data + b"camera maker's notes")
    assert all(is_truncated(data[:size]) for size in range(2, len(data)))


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image():
    data, thumbnail = encoded(), encoded(PICTURE[::4, ::4])
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = data[:2] + segment + data[2:]
    assert not is_truncated(with_thumbnail)
    assert is_truncated(with_thumbnail[:-2])
    assert b"\xff\xd9" in with_thumbnail[:-2]


def with_fillers(data, count):
    """A JPEG file with filler bytes before the marker of each segment, as the standard allows."""
    position, parts = 2, [data[:2]]
    while data[position + 1] != 0xDA:  # start of scan
        size = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        parts += [b"\xff" * count, data[position : position + size]]
        position += size
    return b"".join([*parts, b"\xff" * count, data[position:]])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_filler_bytes_before_markers_are_passed_over(tmp_path, count):
    whole = encoded(quality=95, subsampling=0)
    data = with_fillers(whole, count)
    assert len(data) >= len(whole) + 5 * count
    assert not is_truncated(data)
    assert all(is_truncated(data[:size]) for size in range(2, len(data)))
    for name, content in {"plain.jpg": whole, "filled.jpg": data}.items():
        (tmp_path / name).write_bytes(content)
    assert np.array_equal(load(tmp_path / "plain.jpg"), load(tmp_path / "filled.jpg"))


def test_every_truncation_of_a_png_is_found():
    data = encoded(form="PNG")
    assert not is_truncated(data)
    assert all(is_truncated(data[:size]) for size in range(4, len(data) - 8))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8 no segments follow"])
def test_other_files_are_left_to_the_decoder(data):
    assert not is_truncated(data)


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "n01440764_18.JPEG"
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    path.write_bytes(encoded(noise)[:-100])
    with pytest.raises(ValueError, match=r"whole image in .*n01440764_18\.JPEG.*ends within it"):
        load(path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("no image")
    with pytest.raises(ValueError, match=r"an image in .*notes\.jpg.*cannot be decoded"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        load(tmp_path / "absent.jpg")


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an image in .*picture.jpg, but the file is empty; replace"),
        (b"no image at all", "expected an image in .*picture.jpg, but it cannot be decoded"),
        (encoded()[:-2], "expected a whole image in .*picture.jpg, but the file ends within it"),
    ],
)
def test_a_file_without_an_image_is_named_or_skipped(tmp_path, data, message, backend):
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load(path, imdecode_backend=backend)
    assert load(path, imdecode_backend=backend, ignore_empty=True) is None


def test_a_missing_file_is_named_or_skipped(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.jpg"):
        load(tmp_path / "missing.jpg")
    assert load(tmp_path / "missing.jpg", ignore_empty=True) is None


def test_the_reader_of_the_older_argument_is_used(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded())
    with pytest.warns(DeprecationWarning, match="backend_args"):
        image = load(path, file_client_args=dict(backend="disk"))
    assert image.shape == (32, 32, 3)


@pytest.mark.parametrize("ignore_empty", [False, True])
def test_a_decoder_that_is_missing_is_no_fault_of_the_file(tmp_path, monkeypatch, ignore_empty):
    def missing(*_, **__):
        raise ImportError("`tifffile` is not installed")

    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded())
    monkeypatch.setattr("mmcv.imfrombytes", missing)
    with pytest.raises(ImportError, match="tifffile"):
        load(path, ignore_empty=ignore_empty)


def test_an_address_that_does_not_answer_is_named():
    address = "http://127.0.0.1:9/picture.jpg"  # the port that discards
    with pytest.raises(ValueError, match=f"an image at {address}.*cannot be fetched"):
        load(address, backend_args=dict(backend="http"))
