"""tools/export_onnx.py: a file that ONNX Runtime reads, checked against torch."""

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("mmpretrain")

from helpers import (
    DIGITS,
    assert_help_shows_examples,
    assert_origin,
    error_of,
    json_of,
    run_tool,
    write_checkpoint,
)

from mmbas.compress.onnx_export import open_session


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "gated.pth"
    write_checkpoint(DIGITS, path)
    return path


def test_help_shows_examples():
    assert_help_shows_examples("export_onnx")


def test_file_is_written_and_checked(checkpoint, tmp_path):
    out = tmp_path / "new" / "gated.onnx"
    result = json_of(
        *(run_tool, "export_onnx", DIGITS, checkpoint, out, "--gates", "--repeats", "2"),
        *("--threads", "1"),
        out=tmp_path / "result.json",
    )
    assert result["max_rel_diff"] <= 1e-4
    assert result["onnx_ms"] > 0
    assert result["masked_ms"] > 0
    assert result["shape"] == [32, 32]
    assert result["megabytes"] == pytest.approx(out.stat().st_size / 1e6)
    assert_origin(result, "export_onnx", DIGITS)
    outputs = open_session(out).get_outputs()
    assert [(value.name, value.shape) for value in outputs] == [
        ("logits", ["batch", 10]),
        ("gates", ["batch", 336]),
    ]


def test_wrong_input_is_one_line(checkpoint, tmp_path):
    out = tmp_path / "gated.onnx"
    assert "expected a checkpoint at" in error_of("export_onnx", DIGITS, tmp_path / "no.pth", out)
    plain = "configs/resnet20_cifar10.py"
    assert "also has backbone.layer1.0.gate" in error_of("export_onnx", plain, checkpoint, out)
    write_checkpoint(plain, tmp_path / "plain.pth")
    message = error_of("export_onnx", plain, tmp_path / "plain.pth", out, "--gates")
    assert "expected a model with gates to export" in message
    assert not out.exists()
