"""Two processes train the model that one trains, and predict each example once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from competition.data.vocabulary import Vocabulary
from competition.model.encoder import make_tiny

SCRIPT = Path(__file__).with_name("two_processes.py")


def test_two_processes_give_what_one_gives(tmp_path: Path, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    make_tiny(tmp_path / "tiny", catalogue[1], seed=1, inputs="test")
    Vocabulary.make(catalogue[1]).save(tmp_path / "vocabulary", "test")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    outputs = {}
    for name, command in (("one", [sys.executable]), ("two", launch)):
        out = tmp_path / f"{name}.json"
        done = subprocess.run(
            [*command, str(SCRIPT), str(tmp_path / "tiny"), str(tmp_path / "vocabulary"), str(out)],
            env=environment, cwd=SCRIPT.parents[2], capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        outputs[name] = json.loads(out.read_text())
    assert list(outputs["one"]) == list(outputs["two"]) == ["plain", "fgm", "awp"]
    for name, one in outputs["one"].items():
        two = outputs["two"][name]
        assert one["example_id"] == two["example_id"] == sorted(set(one["example_id"]))
        for column in one:
            assert two[column] == pytest.approx(one[column], abs=1e-4), name
