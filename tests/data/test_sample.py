"""The sample that comes with the package: real rows, whole lists, as the command makes it from the source."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks import sample
from competition.core.parquet import write_table
from competition.core.workspace import Workspace
from competition.data import esci, store
from competition.data.esci_released import A_EXAMPLES
from tests.conftest import SAMPLE_A, comp, make_workspace, needs_sample, refused
from tests.esci import LOCALES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    """The rows of the sample, in layout A."""
    return pd.read_parquet(esci.SAMPLE / A_EXAMPLES)


def test_it_is_small_and_its_origin_is_named() -> None:
    assert sum(path.stat().st_size for path in esci.SAMPLE.iterdir()) < 3_000_000
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert str(esci.SAMPLE.relative_to(ROOT)) in notice
    assert "Amazon" in notice
    assert "Apache License" in notice


def test_it_has_the_lists_and_locales_that_it_says(examples: pd.DataFrame) -> None:
    queries = examples.groupby("query_id").agg(
        size=("example_id", "size"), split=("split", "unique"), locale=("product_locale", "first")
    )
    assert queries["split"].str.len().eq(1).all()
    full = queries["size"].isin(sample.FULL_DEPTH)
    for split, counts in sample.QUERIES.items():
        of_split = queries["split"].str[0] == split
        assert (of_split & full).sum() == counts["full-depth"]
        shallow = queries[of_split & ~full]
        assert shallow["size"].isin(sample.SHALLOW).all()
        assert {name: (shallow["locale"] == name).sum() for name in LOCALES} == {
            n: counts[n] for n in LOCALES
        }
    assert (
        examples["esci_label"].value_counts(normalize=True)["E"] < 0.6
    )  # one answer for all is often wrong


@needs_sample
def test_it_is_made_by_the_command(examples: pd.DataFrame) -> None:
    for name, table in sample.sample(SAMPLE_A).items():
        assert pq.read_table(esci.SAMPLE / name).equals(table.replace_schema_metadata(None)), name
    source = pd.read_parquet(SAMPLE_A / A_EXAMPLES)
    whole = source[source["query_id"].isin(examples["query_id"])].sort_values(
        "example_id", ignore_index=True
    )
    pd.testing.assert_frame_equal(examples, whole)


def test_it_is_imported_like_any_other(tmp_path: Path) -> None:
    one, other = (
        Workspace.open(tmp_path / name)
        for name in ("one", "other")
        if comp("init", tmp_path / name)
    )
    write_table(one.planted, pd.DataFrame({"example_id": [1]}), "of earlier rows")
    assert comp("data", "sample", "-w", one.root).exit_code == 0
    assert comp("data", "import", esci.SAMPLE, "-w", other.root).exit_code == 0
    assert not one.planted.exists()
    for load in (store.load_examples, store.load_products):
        pd.testing.assert_frame_equal(load(one), load(other))
    assert (store.product_rows(store.load_examples(one), store.load_products(one)) >= 0).all()


def test_it_replaces_what_is_built_in_and_no_imported_rows(tmp_path: Path) -> None:
    comp("init", tmp_path / "w")
    for command in (("synth", "--queries", "60"), ("sample",), ("synth", "--queries", "60")):
        assert comp("data", *command, "-w", tmp_path / "w").exit_code == 0
    imported = make_workspace(tmp_path / "imported")
    card = store.load_card(imported)
    assert "has imported rows (test)" in refused("data", "sample", "-w", imported.root)
    assert store.load_card(imported) == card
