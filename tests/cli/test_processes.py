"""The real command under a launcher of two processes gives what one process gives."""

import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from competition.cli import app
from competition.core import distributed
from competition.core.signals import pending
from competition.core.workspace import Workspace
from competition.data import store
from tests.cli.conftest import C1_ALONE, SHORT, TRAIN, struck, trained_files
from tests.conftest import comp, make_workspace, refused
from tests.processes import forked
from tests.training.conftest import make_small

pytestmark = pytest.mark.slow

SETTINGS = f"""{C1_ALONE}
[pretraining]
encoder = "./models/still"
max_length = 64
batch_size = 16
checkpoint_steps = 2
test_copies = 0
ema = 0.9
[overrides]
encoder = "pretrained"
max_length = 32
epochs = 1
rows = "task1"
mixup = 0.0
dropout = 0.0
adversary = "none"
r_drop = 0.0
features = ["brand"]
"""
SHARDED = f"""{C1_ALONE}
[overrides]
encoder = "./models/still"
max_length = 32
epochs = 1
rows = "task1"
features = []
dropout = 0.0
mixup = 0.0
ema = 0.9
batch_size = 8
checkpoint_steps = 2
sharded = true
"""


def launched_and_stopped(*command: str | Path) -> None:
    """Run a command in two processes of torch's launcher, which gets SIGTERM from the second in step 3 of training.

    It tells them all.
    """
    config = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork"
    )
    elastic_launch(config, stop_launcher)(*command)


def stop_launcher(*command: str | Path) -> None:
    """Run the command, and stop the launcher of this process."""
    steps = itertools.count(1)

    def stop(*_: object) -> None:
        if next(steps) == 3 and os.environ["RANK"] == "1":
            os.kill(os.getppid(), signal.SIGTERM)
            while not pending():
                time.sleep(0.01)

    register_optimizer_step_pre_hook(stop)
    app([str(word) for word in command])


def train_each(*roots: Path) -> None:
    """Train the same fold in several workspaces."""
    for root in roots:
        app([*TRAIN, "-w", str(root)], standalone_mode=False)


def workspace(folder: Path, settings: str = SETTINGS, queries: int = 20) -> Workspace:
    """A workspace whose encoder never drops out."""
    space = make_workspace(folder, queries, settings)
    make_small(space.models / "still", store.load_products(space), 512, layers=2, width=32)
    config = space.models / "still" / "config.json"
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | off))
    return space


def losses(log: Path, *names: str) -> list[float]:
    """Everything of these names that a log holds, in order."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line[name] for line in lines for name in names if name in line]


def test_two_processes_give_what_one_gives_though_one_dies_at_first(tmp_path: Path) -> None:
    """Folds, vocabulary, a pre-training and a fold: all that `comp train` makes. The second process dies in step 3."""
    one, two = workspace(tmp_path / "one"), workspace(tmp_path / "two")
    alone = comp(*TRAIN, "-w", one.root)
    assert alone.exit_code == 0, alone.output
    ended = forked(struck, signal.SIGKILL, 3, 1, *TRAIN, "-w", two.root, processes=2)
    (sentence,) = (line for line in ended.stderr.splitlines() if line.startswith("error: "))
    assert ended.codes == [1, -signal.SIGKILL], ended.stderr
    assert "Another process of this launch has ended" in sentence, ended.stderr
    assert not list(two.oof.rglob("*.parquet"))
    assert not list(two.encoder("pretrained").glob("*"))

    done = forked(train_each, two.root, processes=2)
    assert done.codes == [0, 0], done.stderr
    assert done.stdout.count("c1, fold 0: done.") == 1
    assert done.stdout.count("resumes from step 2 of") == 1
    for name in ("fold-0", "test-0"):
        expected, outputs = (
            pd.read_parquet(space.run("c1") / f"{name}.parquet") for space in (one, two)
        )
        assert (
            outputs["example_id"].tolist()
            == expected["example_id"].tolist()
            == sorted(set(outputs["example_id"]))
        )
        pd.testing.assert_frame_equal(outputs, expected, check_exact=False, rtol=0, atol=1e-4)
    names = ("loss", "mlm", "query", "attributes", "contrastive", "held_out_score")
    for log in ("models/encoders/pretrained.log.jsonl", "oof/c1/log.jsonl"):
        expected_losses, found_losses = (losses(space.root / log, *names) for space in (one, two))
        assert expected_losses
        assert found_losses == pytest.approx(expected_losses, abs=1e-4)
    assert not list(two.root.rglob(".*.tmp"))
    assert not list(two.unfinished.rglob("*.safetensors"))


def test_two_processes_that_are_stopped_end_behind_the_same_step_and_go_on_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    stopped, undisturbed = (
        make_workspace(tmp_path / name, settings=C1_ALONE + SHORT) for name in ("a", "b")
    )
    ended = forked(launched_and_stopped, *TRAIN, "-w", stopped.root)
    (sentence,) = (line for line in ended.stderr.splitlines() if line.startswith("error: "))
    assert sentence.startswith("error: interrupted; step 3 of ")
    assert ended.codes == [1]
    assert sentence.endswith(" of c1 fold 0 is saved, and the same command resumes from there.")
    assert [path.name for path in stopped.unfinished.rglob("step-*")] == ["step-00000003"]
    assert not trained_files(stopped)
    assert not list(stopped.root.rglob(".*.tmp"))

    done = forked(train_each, stopped.root, undisturbed.root, processes=2)
    assert done.codes == [0, 0], done.stderr
    assert (
        done.stdout.count("c1 fold 0: resumes from step 3 of") == 1 == done.stdout.count("resumes")
    )
    assert len(trained_files(stopped)) == 4
    assert trained_files(stopped) == trained_files(undisturbed)


def test_sharded_processes_that_are_stopped_end_with_what_one_gives(tmp_path: Path) -> None:
    """With FGM, R-Drop and averaged weights. The second process alone is asked to end, in the third step.

    What sharded processes left, one process that shards nothing resumes from, too.
    """
    one, two, three = (workspace(tmp_path / name, SHARDED) for name in ("one", "two", "three"))
    alone = comp(*TRAIN, "-w", one.root)
    assert alone.exit_code == 0, alone.output
    stopped = forked(struck, signal.SIGTERM, 3, 1, *TRAIN, "-w", two.root, processes=2)
    assert all(stopped.codes), stopped.stderr
    assert "error: interrupted; step 3 of " in stopped.stderr, stopped.stderr
    assert sorted(path.name for path in two.unfinished.rglob("step-*")) == [
        "step-00000002",
        "step-00000003",
    ]
    shutil.copytree(two.models, three.models, dirs_exist_ok=True)

    done = forked(train_each, two.root, processes=2)
    assert done.codes == [0, 0], done.stderr
    assert done.stdout.count("c1, fold 0: done.") == 1
    assert done.stdout.count("resumes from step 3 of") == 1
    alone = comp(*TRAIN, "-w", three.root)
    assert alone.exit_code == 0, alone.output
    assert "resumes from step 3 of" in alone.output, alone.output
    for name in ("fold-0", "test-0"):
        expected, *others = (
            pd.read_parquet(space.run("c1") / f"{name}.parquet") for space in (one, two, three)
        )
        assert expected["example_id"].tolist() == sorted(set(expected["example_id"]))
        for outputs in others:
            pd.testing.assert_frame_equal(outputs, expected, check_exact=False, rtol=0, atol=1e-4)
    (expected, outputs) = (
        load_file(next(s.models.rglob("seed-*/model.safetensors"))) for s in (one, two)
    )
    assert {name: tensor.shape for name, tensor in outputs.items()} == {
        n: t.shape for n, t in expected.items()
    }
    assert losses(two.run("c1") / "log.jsonl", "loss", "held_out_score") == pytest.approx(
        losses(one.run("c1") / "log.jsonl", "loss", "held_out_score"), abs=1e-4
    )


def test_commands_that_share_nothing_refuse_a_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_workspace(tmp_path / "w")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (["run"], ["stack", "blend"], ["clean"]):
        sentence = refused(*command, "-w", space.root)
        assert f"`comp {command[0]}` runs as one process" in sentence
        assert "`comp train` can use several processes" in sentence


def test_a_launcher_that_shards_the_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_workspace(tmp_path / "w")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    sentence = refused("train", "-w", space.root)
    assert "sharded = true" in sentence
    assert "--multi_gpu" in sentence


def test_alone_a_process_agrees_with_itself() -> None:
    assert distributed.is_main_process()
    assert distributed.broadcast_from_main("x") == "x"
    assert not distributed.any_process(False)
