"""Labels in all the ways in which files write them."""

from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.data import store
from tests.data.tables.made import contest, read, saved


def test_labels_that_are_words_with_a_positive_one_and_two_locales(tmp_path: Path) -> None:
    of = contest(
        locales={"de": {"language": "de"}, "fr": {"language": "fr"}},
        labels={"names": ["good", "fair", "bad"]},
        tasks={
            "grades": {"kind": "classify", "metric": "macro-F1", "answer": ["id", "label"]},
            "good_ones": {
                "kind": "classify", "metric": "auc", "positive": "good", "answer": ["id", "label"],
            },
        },
    )  # fmt: skip
    text = "query,title,label,locale\na,x,good,de\na,x,bad,fr\nb,y,fair,fr\n"
    workspace, of = saved(tmp_path, of, rows_csv=text)
    examples = store.load_examples(workspace)
    assert len(store.load_products(workspace)) == 3  # one of each locale
    assert (examples["good"] == (examples["label"] == "good")).all()
    assert examples["query_id"].nunique() == 3


def test_raters_are_kept(tmp_path: Path) -> None:
    text = "query,title,label,one,two\na,x,1,1.0,2\nb,y,2,,2\n"
    of = contest(labels={"raters": ["one", "two"]})
    workspace, _ = saved(tmp_path, of, rows_csv=text)
    examples = store.load_examples(workspace).sort_values("query")
    assert examples["one"].isna().tolist() == [False, True]
    assert examples["one"].iloc[0] == "1"
    assert examples["two"].tolist() == ["2", "2"]


def test_many_numbers_are_a_range(tmp_path: Path) -> None:
    lines = [f"q{i},t{i},{i / 10}" for i in range(40)]
    _, of = saved(tmp_path, contest(), rows_csv="query,title,label\n" + "\n".join(lines))
    assert (of.labels.names, of.labels.lowest, of.labels.highest) == ((), 0.0, 3.9)


def test_numbers_may_have_decimal_commas(tmp_path: Path) -> None:
    text = "query;title;label\na;x;2,67\nb;y;3\nc;z;1,0\n"
    examples, _ = read(tmp_path, contest(labels={"range": [1, 3]}), rows_csv=text)
    assert examples["label"].tolist() == ["2.67", "3", "1"]
    with pytest.raises(InputError, match="the label '2,67' of row 1 is not a number"):
        read(tmp_path, contest(labels={"range": [1, 3]}), rows_csv=text.replace("1,0", "1,0,0"))


def test_one_label_alone_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all training rows have the label '1': bring rows"):
        read(tmp_path, contest(), rows_csv="query,title,label\na,x,1\nb,y,1.0\n")
