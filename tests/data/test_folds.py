"""No text on both sides, whatever it looks like."""

import subprocess
import sys
import unicodedata
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from competition.config.base_recipe import SCHEMES
from competition.core.errors import InputError
from competition.data import esci, folds
from tests.conftest import SAMPLE_A, needs_sample
from tests.data.tables.made import contest
from tests.esci import CONTEST

WORDS = [f"query {i}" for i in range(200)]
HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def frame(texts: list[str], splits: list[str] | None = None) -> pd.DataFrame:
    """One example per text."""
    split = splits or ["train"] * len(texts)
    return pd.DataFrame(
        {
            "query_id": range(len(texts)),
            "query": texts,
            "split": split,
            "example_id": range(len(texts)),
        }
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Red Shoes", "red shoes"),
        ("red  shoes ", "red shoes"),
        ("red\u00a0shoes\n", "red shoes"),
        ("ＵＳＢ　Ｃ", "usb c"),
        ("café", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("ｶﾞｽ", "ガス"),
        ("①", "1"),
        ("👟 SIZE", "👟 size"),
        ("❤️ mug", "❤ mug"),
        ("red shoes\u200b", "red shoes"),
        ("micro\u00adwave", "microwave"),
    ],
)
def test_same_query_written_otherwise_is_in_the_same_part(one: str, other: str) -> None:
    assert folds.normalise(one) == folds.normalise(other)
    assert folds.part_of(one) == folds.part_of(other)


@given(HOSTILE)
@example("İstanbul")
@example("ŉ ǰ ΐ")
@example("ſﬁ")
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = folds.normalise(text)
    assert folds.normalise(once) == once


@given(HOSTILE)
def test_case_width_and_spaces_do_not_move_a_query(text: str) -> None:
    variants = [text.upper(), text.casefold(), f"  {text}\t", unicodedata.normalize("NFD", text)]
    expected = folds.normalise(text.upper().lower()), folds.normalise(text)
    for variant in variants[1:]:
        assert folds.part_of(variant) == folds.part_of(text)
    assert folds.normalise(variants[0]) in expected


@given(st.lists(HOSTILE, min_size=1, max_size=8), st.sampled_from(sorted(SCHEMES)))
def test_no_text_is_in_two_folds(texts: list[str], scheme: str) -> None:
    filler = [f"filler {i}" for i in range(400)]  # so that no fold is empty
    variants = [
        v for t in texts for v in (t, t.casefold(), f" {t} ", unicodedata.normalize("NFD", t))
    ]
    examples = frame(variants + filler)
    table = folds.make_folds(examples, scheme, CONTEST)
    folds.check_folds(examples, table, scheme)
    seen = examples.assign(
        fold=folds.fold_of_rows(examples, table), text=examples["query"].map(folds.normalise)
    )
    assert seen.groupby("text")["fold"].nunique().max() == 1


def test_parts_are_the_same_in_every_process() -> None:
    code = "from competition.data.folds import part_of; print([part_of(f'query {i}') for i in range(50)])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{[folds.part_of(f'query {i}') for i in range(50)]}\n"}


def test_both_schemes_group_the_same_parts() -> None:
    examples = frame([f"query {i}" for i in range(500)])
    five, ten = (folds.make_folds(examples, scheme, CONTEST) for scheme in ("five", "ten"))
    assert (five["part"] == ten["part"]).all()
    assert (five["fold"] == five["part"] // 4).all()
    assert (ten["fold"] == ten["part"] // 2).all()
    assert sorted(five["part"].unique()) == list(range(20))


def test_test_queries_are_in_no_fold_and_shared_texts_are_reported() -> None:
    texts = [f"query {i}" for i in range(300)] + ["QUERY 7", "only in test"]
    examples = frame(texts, ["train"] * 300 + ["test"] * 2)
    table = folds.make_folds(examples, "five", CONTEST)
    assert table["fold"].tolist()[-2:] == [-1, -1]
    folds.check_folds(examples, table, "five")
    assert folds.shared_with_test(examples) == [7]


def test_order_of_rows_changes_nothing() -> None:
    examples = frame([f"query {i}" for i in range(300)])
    shuffled = examples.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        folds.make_folds(examples, "ten", CONTEST), folds.make_folds(shuffled, "ten", CONTEST)
    )


def test_too_few_queries_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"Fold \d of scheme 'ten' has no training query: 3 training queries"
    ):
        folds.make_folds(frame(["a", "b", "c"]), "ten", CONTEST)


def test_a_leak_is_refused() -> None:
    examples = frame([f"query {i}" for i in range(300)] + ["Query 7"])
    table = folds.make_folds(examples, "five", CONTEST)
    moved = table.assign(
        fold=table["fold"].where(table["query_id"] != 300, (table["fold"] + 1) % 5)
    )
    with pytest.raises(
        InputError, match=r"leaks: the query text 'query 7' is in more than one fold"
    ):
        folds.check_folds(examples, moved, "five")
    with pytest.raises(InputError, match="query_id 5 has no fold"):
        folds.check_folds(examples, table[table["query_id"] != 5], "five")
    with pytest.raises(InputError, match="query_id 0 is listed twice"):
        folds.check_folds(examples, pd.concat([table, table.head(1)]), "five")


@needs_sample
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_no_leak_on_real_rows(scheme: str) -> None:
    examples, _ = esci.read(SAMPLE_A)
    table = folds.make_folds(examples, scheme, CONTEST)
    folds.check_folds(examples, table, scheme)
    train = examples[examples["split"] == "train"]
    seen = train.assign(
        fold=folds.fold_of_rows(train, table), text=train["query"].map(folds.normalise)
    )
    assert seen.groupby("text")["fold"].nunique().max() == 1
    assert set(seen["fold"]) == set(range(SCHEMES[scheme]))


# --- the first training queries ---


def first(examples: pd.DataFrame, count: int) -> set[str]:
    """The texts of the first training queries."""
    return set(examples["query"][folds.first_queries(examples, count)])


def test_rows_keep_their_index_when_their_queries_are_normalised() -> None:
    queries = pd.Series(["Red  SHOES", "mug", "Red  SHOES"], index=[7, 3, 5])
    normal = pd.Series(["red shoes", "mug", "red shoes"], index=[7, 3, 5], dtype=object)
    pd.testing.assert_series_equal(folds.normalise_each(queries), normal)


def test_smaller_sets_of_queries_are_within_larger_ones() -> None:
    examples = frame(WORDS)
    sets = [first(examples, count) for count in (0, 1, 20, 100, 200, 300)]
    assert [len(each) for each in sets] == [0, 1, 20, 100, 200, 200]
    assert all(small <= large for small, large in pairwise(sets))


def test_the_first_queries_depend_on_text_alone() -> None:
    examples = frame(WORDS)
    selected = first(examples, 50)
    assert first(examples.sample(frac=1, random_state=0), 50) == selected
    more = first(frame([*WORDS, *(f"new {i}" for i in range(200))]), 100)
    assert more & set(WORDS) <= first(
        examples, 100
    )  # new queries come between, the order of the others stays
    spelled = frame(["Red  Shoes", "red shoes", "blue shoes"])
    assert len(first(spelled, 1)) in (1, 2)
    assert len(first(spelled, 2)) == 3


def test_test_queries_are_none_of_the_first() -> None:
    examples = frame([*WORDS, *WORDS], ["train"] * 200 + ["test"] * 200)
    selected = folds.first_queries(examples, 50)
    assert selected.sum() == 50
    assert set(examples["split"][selected]) == {"train"}


def test_the_first_queries_are_spread_over_the_folds() -> None:
    parts = [folds.part_of(text) // 4 for text in folds.texts_in_order(frame(WORDS))[:100]]
    assert min(parts.count(fold) for fold in range(5)) > 10  # 20 on average


def test_test_queries_that_are_training_queries_are_counted_by_text() -> None:
    examples = frame(["a", "b", "A ", "c"], ["train", "train", "test", "test"])
    assert folds.share_of_test(examples) == 1 / 2


# --- folds of rows ---


def graded(rows: int) -> pd.DataFrame:
    """Return training rows of two queries with labels 1 to 4, one in ten a 4."""
    numbers = range(rows)
    return pd.DataFrame(
        {
            "example_id": [7 * number for number in numbers],
            "query_id": [number % 2 for number in numbers],
            "query": [f"query {number % 2}" for number in numbers],
            "label": ["4" if number % 10 == 0 else str(1 + number % 3) for number in numbers],
            "split": "train",
        }
    )


ROWS_APART = contest(folds="rows", labels={"levels": [1, 2, 3, 4]})


def test_rows_are_dealt_evenly_by_label() -> None:
    examples = graded(1_000)
    table = folds.make_folds(examples, "five", ROWS_APART)
    folds.check_folds(examples, table, "five")
    fold = folds.fold_of_rows(examples, table)
    counts = pd.crosstab(fold, examples["label"])
    assert (counts.max() - counts.min()).max() <= 2
    assert counts["4"].tolist() == [100 // 5] * 5


def test_few_rows_move_where_others_come() -> None:
    some, more = graded(1_000), graded(1_050)
    before = folds.fold_of_rows(some, folds.make_folds(some, "five", ROWS_APART))
    after = folds.fold_of_rows(more, folds.make_folds(more, "five", ROWS_APART))
    assert (before == after[: len(before)]).mean() > 0.95


def test_test_rows_are_in_no_fold_and_others_in_one() -> None:
    examples = graded(200).assign(split=["train", "test"] * 100)
    table = folds.make_folds(examples, "ten", ROWS_APART)
    in_test = (examples["split"] == "test").to_numpy()
    assert ((table["fold"] == folds.TEST_FOLD).to_numpy() == in_test).all()
    with pytest.raises(InputError, match="example_id 0 has no fold"):
        folds.check_folds(examples, table.iloc[1:], "ten")


def test_numbers_are_dealt_evenly_by_size() -> None:
    examples = graded(500)
    examples["label"] = [str(1 + (i % 100) / 50) for i in range(500)]
    of = contest(folds="rows", labels={"range": [1, 3]})
    fold = folds.fold_of_rows(examples, folds.make_folds(examples, "five", of))
    means = examples["label"].astype(float).groupby(fold).mean()
    assert means.max() - means.min() < 0.05


def test_queries_of_unequal_size_fill_folds_evenly() -> None:
    sizes = [1 + number % 30 for number in range(300)]
    query = [number for number, size in enumerate(sizes) for _ in range(size)]
    examples = pd.DataFrame({"query_id": query, "example_id": range(len(query)), "split": "train"})
    examples["query"] = [f"query {number}" for number in query]
    table = folds.make_folds(examples, "five", contest())
    folds.check_folds(examples, table, "five")
    rows = folds.fold_of_rows(examples, table).value_counts()
    assert rows.max() - rows.min() <= 2 * max(sizes)
