"""Two processes train the model that one trains, and predict each example once."""

import json
from pathlib import Path

import pandas as pd
import pytest

from competition.data.vocabulary import Vocabulary
from tests.esci import CONTEST
from tests.processes import forked
from tests.training.conftest import WIDTH, make_small
from tests.training.two_processes import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Path:
    """A folder with an encoder and a vocabulary."""
    folder = tmp_path_factory.mktemp("sources")
    make_small(folder / "small", catalogue[1], layers=2, width=WIDTH)
    Vocabulary.make(catalogue[1], CONTEST.categories).save(folder / "vocabulary", "test")
    return folder


def test_two_processes_give_what_one_gives(sources: Path) -> None:
    folders = (sources / "small", sources / "vocabulary")
    main(*folders, sources / "one.json", ["whole"])
    ended = forked(main, *folders, sources / "two.json", ["whole", "sharded"], processes=2)
    assert ended.codes == [0, 0], ended.stderr
    alone, both = (json.loads((sources / f"{name}.json").read_text()) for name in ("one", "two"))

    assert list(both["whole"]) == ["plain", "fgm", "lists", "awp", "adapters"]
    assert list(both["sharded"]) == ["plain", "fgm", "lists"]
    for layout, name in ((layout, name) for layout, results in both.items() for name in results):
        one, two = alone["whole"][name], both[layout][name]
        assert one["example_id"] == two["example_id"] == sorted(set(one["example_id"]))
        for column in one.keys() - {"held"}:
            assert two[column] == pytest.approx(one[column], abs=1e-4), (layout, name)
        # AdamW's moments: both processes hold all of them, or half each but for the odd rows.
        assert two["held"] == pytest.approx(
            [one["held"][0] / (2 if layout == "sharded" else 1)], rel=0.01
        ), (layout, name)
