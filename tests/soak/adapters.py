"""Trainings of adapters that are killed at random writes: run again, each must end in the same bytes."""

import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from transformers import AutoModelForCausalLM

from competition.config.encoder_recipe import EncoderRecipe
from competition.data import synthetic
from competition.models.encoder.encoder import fetch
from competition.models.encoder.paths import Sources
from competition.training.corpus import Corpus
from competition.training.finetune import Fold, train_fold
from competition.training.loop import Log
from tests.esci import CONTEST, KINDS
from tests.rerankers import make_decoder
from tests.soak.faults import Disk

RECIPE = EncoderRecipe(
    name="adapters", kind="gain", head="yes-no", lora={"rank": 2}, max_length=40, batch_size=4, epochs=2,
    learning_rate=1e-3, checkpoint_steps=1, ema=0.9, adversary="fgm-table", r_drop=0.5,
)  # fmt: skip


def killed_adapters(folder: Path, kills: int, seed: int) -> int:
    """Kill as many trainings of a decoder's adapters; return how many did not end in the bytes of one undisturbed."""
    folder.mkdir()
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    make_decoder(AutoModelForCausalLM, "qwen3", folder / "source", products)
    fetch(folder / "copy", str(folder / "source"), "soak", "yes-no")
    sources = Sources(folder / "copy")
    corpus = Corpus.make(RECIPE, CONTEST, sources, examples.head(24), products)
    rows = np.arange(24)

    def train(root: Path) -> None:
        fold = Fold(
            "0", root / "fold", "soak", sources, rows[:12], rows[12:18], rows[18:], None, root / "left"
        )  # fmt: skip
        held_out, test = train_fold(
            RECIPE, KINDS["gain"], corpus, fold, Log(root / "log"), lambda _: 0.5
        )
        held_out.to_parquet(root / "held_out.parquet")
        test.to_parquet(root / "test.parquet")

    base = _bytes(folder / "copy")
    disk = Disk(folder / "whole")
    assert _child(lambda: (disk.watch(), train(folder / "whole"))) == 0
    expected = _bytes(folder / "whole")

    draw, wrong, struck = random.Random(seed), 0, 0
    for _ in range(kills):
        root = folder / "killed"
        number = draw.randint(1, disk.writes)
        fault = Disk(root, number, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        struck += _child(lambda d=fault, r=root: (d.watch(), train(r))) == -signal.SIGKILL  # type: ignore[misc]
        ended = _child(lambda r=root: train(r))  # type: ignore[misc]
        if ended or _bytes(root) != expected or _bytes(folder / "copy") != base:
            wrong += 1
            print(f"wrong: adapters, SIGKILL at write {number}", flush=True)
        shutil.rmtree(root)
    print(
        f"adapters: {struck} of {kills} killed; {kills - wrong} of {kills} ended in the same bytes",
        flush=True,
    )
    return wrong


def _child(act: Callable[[], object]) -> int:
    """Do something in a process of its own; return its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _bytes(root: Path) -> dict[str, bytes]:
    """The content of all files but the log, whose lines have times, and checkpoints."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != "log"]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in paths
        if "left" not in path.relative_to(root).parts
    }
