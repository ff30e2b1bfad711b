"""The files of one run: what is done, and what the result is."""

from __future__ import annotations

import copy
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmbas.cli.command_line import load_config, write_json
from mmbas.cli.environment import commit
from mmbas.experiments.plan import Run
from mmbas.experiments.schedule_length import scale_schedule
from mmbas.hooks.checkpoint_file import checkpoint_number, latest_checkpoint

# Where configs and tools are: beside the package, or in an installed one.
_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE / ".mim" if (_PACKAGE / ".mim").is_dir() else _PACKAGE.parent


@dataclass(frozen=True)
class RunFiles:
    """Where a run keeps what it writes.

    Attributes:
        run: The run.
        work_dir: Checkpoints and logs; may be deleted when the result is there.
        result: The JSON file; written last, so a run that has one is finished.
    """

    run: Run
    work_dir: Path
    result: Path

    @property
    def config(self) -> Path:
        """The run's own config: the plan's settings and length applied."""
        return self.work_dir / "run.py"

    @property
    def log(self) -> Path:
        """File for the output of training and test."""
        return self.work_dir / "run.log"

    @property
    def commits(self) -> Path:
        """Commits of the code that trained, one line per start."""
        return self.work_dir / "commits.txt"

    @property
    def settings(self) -> Path:
        """The settings with which the checkpoints were trained."""
        return self.work_dir / "settings.json"

    @property
    def planned(self) -> Path:
        """The config as it was when training began; to ``config`` the training adds its own."""
        return self.work_dir / "planned.py"

    @property
    def test_output(self) -> Path:
        """File that the test writes."""
        return self.work_dir / "test.json"

    def finished(self) -> bool:
        """Tell whether the result is there.

        Raises:
            ValueError: If it is the result of other settings.
        """
        if not self.result.is_file():
            return False
        self._refuse_other_settings(self.result)
        return True

    def prepare(self) -> None:
        """Write the config and note settings and commit, before each start.

        Raises:
            ValueError: If the checkpoints in the folder were trained with other settings, or
                before the config file was edited.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        config = run_config(self.run)
        if self.settings.is_file() and self.last_checkpoint():
            self._refuse_other_settings(self.settings)
            self._refuse_another_config(config)
        else:
            write_json(str(self.settings), self.run.record())
            config.dump(str(self.planned))
        config.dump(str(self.config))
        with self.commits.open("a", encoding="utf-8") as file:
            file.write(f"{commit()}\n")

    def train_command(self) -> list[str]:
        """Trains, or goes on from the last checkpoint.

        A first checkpoint that was cut off is written again, where ``--resume`` would refuse it.
        """
        options = ["--work-dir", str(self.work_dir)]
        options += ["--resume"] if self.last_checkpoint() else []
        options += ["--amp"] if self.run.amp else []
        return [sys.executable, "tools/train.py", str(self.config), *options]

    def test_command(self) -> list[str]:
        """Tests the last checkpoint."""
        arguments = [str(self.config), str(self.last_checkpoint())]
        outputs = ["--work-dir", str(self.work_dir), "--out-json", str(self.test_output)]
        return [sys.executable, "tools/test.py", *arguments, *outputs]

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint, from which training would go on."""
        return latest_checkpoint(self.work_dir)

    def done(self) -> int:
        """Epochs, or iterations, that a restart would not repeat."""
        checkpoint = self.last_checkpoint()
        step = checkpoint_number(checkpoint) if checkpoint else None
        return step[1] if step else 0

    def write_result(self, plan_path: str) -> None:
        """Make the result out of the run and what its test wrote."""
        test: dict[str, Any] = json.loads(self.test_output.read_text(encoding="utf-8"))
        commits = list(dict.fromkeys(self.commits.read_text(encoding="utf-8").split()))
        command = ["python", "tools/reproduce.py", plan_path, "--only", self.run.name]
        origin = {"command": shlex.join(command), "commits_trained": commits}
        kept = {key: value for key, value in test.items() if key not in ("config", "checkpoint")}
        write_json(str(self.result), {**self.run.record(), **kept, **origin})

    def _refuse_other_settings(self, path: Path) -> None:
        saved = read_object(path)
        changed = [key for key, value in self.run.record().items() if saved.get(key) != value]
        if changed:
            raise ValueError(
                f"expected the settings of {self.run.name} in {path}, but its {changed} differ "
                f"from the plan's; rename the run, or remove {self.result} and {self.work_dir}"
            )

    def _refuse_another_config(self, config: Config) -> None:
        if not self.planned.is_file():  # trained by an earlier version
            return
        trained = Config.fromfile(str(self.planned)).to_dict()
        # Read back too: a file keeps no tuple in a list, and the like, apart.
        current = Config.fromstring(config.pretty_text, ".py").to_dict()
        if changed := sorted(
            key for key in {*trained, *current} if trained.get(key) != current.get(key)
        ):
            raise ValueError(
                f"expected {self.run.config} as in {self.planned}, with which {self.run.name} was "
                f"trained so far, but its {changed} differ; undo that, or remove {self.work_dir}"
            )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: If the file holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON in {path}, but got: {error}; remove the file") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object in {path}, but got a {type(content).__name__}")
    return content


def run_config(run: Run) -> Config:
    """The run's config with its settings, seed and length; one that counts epochs saves each.

    Raises:
        ValueError: If the config file is not there, or has nothing that a setting names.
    """
    config = load_config(str(ROOT / run.config))
    if unknown := sorted({key.split(".")[0] for key in run.overrides} - set(config)):
        raise ValueError(f"expected settings of {run.config} in run {run.name}, but got {unknown}")
    # A copy, since merging takes _delete_ out of what it is given.
    config.merge_from_dict({**copy.deepcopy(run.overrides), "randomness.seed": run.seed})
    checkpoint = config.get("default_hooks", {}).get("checkpoint", {"by_epoch": False})
    if checkpoint.get("by_epoch", True):
        checkpoint["interval"] = 1
    return config if run.length is None else scale_schedule(config, run.length)
