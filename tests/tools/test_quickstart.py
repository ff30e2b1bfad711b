"""The newcomer's demo, cut short: its table and its summary."""

import json

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import run_tool

SHORT = [
    "--cfg-options",
    "train_cfg.max_epochs=1",
    "default_hooks.checkpoint.interval=1",
    "train_dataloader.dataset.indices=128",
    "test_dataloader.dataset.indices=60",
    "val_dataloader.dataset.indices=20",
]


def test_short_run_starts_clean_and_ends_with_table_and_summary(tmp_path):
    work_dir = tmp_path / "quickstart"
    work_dir.mkdir()
    (work_dir / ".made-by-quickstart").touch()
    (work_dir / "epoch_9.pth").write_text("of an earlier run")
    result = run_tool("quickstart", "--work-dir", work_dir, "--threads", "1", *SHORT)
    assert "this run starts clean" in result.stdout
    assert not (work_dir / "epoch_9.pth").exists()
    summary = json.loads((work_dir / "summary.json").read_text())
    assert set(summary) == {
        *("accuracy", "macs_fraction", "always_on", "conditional", "always_off"),
        *("dense_ms", "gated_ms", "commit", "versions"),
    }
    speed = json.loads((work_dir / "speed.json").read_text())
    assert summary["gated_ms"] == speed["sliced_ms"]
    assert 0 <= summary["accuracy"] <= 1
    assert 0 < summary["macs_fraction"] < 1
    shares = (summary["always_on"], summary["conditional"], summary["always_off"])
    assert sum(shares) == pytest.approx(1)
    for line in (
        f"test accuracy                                {summary['accuracy']:.1%}",
        f"{summary['macs_fraction']:.1%} of dense",
        f"{summary['dense_ms']:.2f} ms (batch size 1, 1 CPU thread)",
        f"gated time per image                         {summary['gated_ms']:.2f} ms (",
        f"summary     {work_dir / 'summary.json'}",
    ):
        assert line in result.stdout


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    result = run_tool("quickstart", "--work-dir", tmp_path, expect=1)
    assert "expected" in result.stderr
    assert (tmp_path / "thesis.tex").read_text() == "mine"
