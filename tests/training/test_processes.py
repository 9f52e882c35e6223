"""Two processes train the model that one trains, and predict each example once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import make_tiny
from tests.esci import CONTEST

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("two_processes.py")
ALONE = (sys.executable,)
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.fixture(scope="module")
def sources(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Path:
    """A folder with an encoder and a vocabulary."""
    folder = tmp_path_factory.mktemp("sources")
    make_tiny(folder / "tiny", catalogue[1], seed=1, inputs="test")
    Vocabulary.make(catalogue[1], CONTEST.categories).save(folder / "vocabulary", "test")
    return folder


def trained(sources: Path, command: tuple[str, ...], layout: str) -> dict[str, dict[str, Any]]:
    """What the script leaves: for each method the outputs by column, and how many numbers the optimiser held."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    out = sources / "out.json"
    done = subprocess.run(
        [*command, str(SCRIPT), str(sources / "tiny"), str(sources / "vocabulary"), str(out), layout],
        env=environment, cwd=SCRIPT.parents[2], capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, dict[str, Any]] = json.loads(out.read_text())
    return results


@pytest.fixture(scope="module")
def alone(sources: Path) -> dict[str, dict[str, Any]]:
    """What one process gives."""
    return trained(sources, ALONE, "whole")


@pytest.mark.parametrize(
    ("layout", "methods"),
    [("whole", ["plain", "fgm", "lists", "awp"]), ("sharded", ["plain", "fgm", "lists"])],
)
def test_two_processes_give_what_one_gives(
    layout: str, methods: list[str], sources: Path, alone: dict[str, dict[str, Any]]
) -> None:
    both = trained(sources, LAUNCH, layout)
    assert list(both) == methods
    for name, two in both.items():
        one = alone[name]
        assert one["example_id"] == two["example_id"] == sorted(set(one["example_id"]))
        for column in one.keys() - {"held"}:
            assert two[column] == pytest.approx(one[column], abs=1e-4), name
        # AdamW's moments: both processes hold all of them, or half each but for the odd rows.
        assert two["held"] == pytest.approx(
            [one["held"][0] / (2 if layout == "sharded" else 1)], rel=0.01
        ), name
