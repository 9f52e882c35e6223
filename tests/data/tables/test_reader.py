"""Whole files of a contest of the user's own: what is read, and what is refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from competition.core.errors import InputError
from competition.data import store
from competition.data.tables.reader import read_tables
from competition.scoring.contest import Found
from tests.data.tables.made import ROWS, contest, read, saved


def test_one_file_with_a_query_a_text_and_a_grade_is_enough(tmp_path: Path) -> None:
    workspace, of = saved(tmp_path, contest(), rows_csv=ROWS)
    examples, products = store.load_examples(workspace), store.load_products(workspace)
    by_query = examples.sort_values(["query", "label"])
    assert by_query["label"].tolist() == ["2", "1", "3"]
    assert set(examples["split"]) == {"train"}
    assert set(examples["locale"]) == {""}
    assert examples["query_id"].nunique() == 2
    assert store.product_rows(examples, products).min() == 0
    # Without test rows, they are those of the training rows.
    assert store.load_card(workspace).tasks == ("ranking",)

    # The field that no file has is no column.
    assert (of.fields, list(products)) == (("title",), ["locale", "product_id", "title"])
    assert store.load_card(workspace).found == Found(("1", "2", "3"), ("",), ("title",))
    assert of.labels.names == ("1", "2", "3")


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"query": ["a", "b"], "title": ["x", "y"], "label": [1.0, 2.33]})
    frame.to_parquet(tmp_path / "rows.parquet")
    examples, _ = read_tables(tmp_path / "rows.parquet", contest(), {})
    assert examples["label"].tolist() == ["1", "2.33"]


def test_a_column_may_say_the_split(tmp_path: Path) -> None:
    text = "query,title,label,split\na,x,1,Train\nb,y,2,training\nc,z,,test\n"
    examples, _ = read(tmp_path, contest(), rows_csv=text)
    assert examples["split"].tolist() == ["train", "train", "test"]


def test_locales_that_are_found(tmp_path: Path) -> None:
    text = "query,title,label,locale\na,x,1,nl\nb,x,2,it\n"
    _, of = saved(tmp_path, contest(locales=True), rows_csv=text)
    assert of.locale_names == ("it", "nl")


@pytest.mark.parametrize(
    ("keys", "text", "message"),
    [
        ({}, "search,title,label\na,x,1\n",
         r"lacks the column 'query'.*it has search, title, label.*`--map query=COLUMN`, or write query = "
         r"\"COLUMN\" into \[columns\] of mine.toml"),
        ({}, "query,titles,label\na,x,1\n", r"lacks the column 'title' \(did you mean 'titles'\?\)"),
        ({}, "query,title,grade\na,x,1\n", r"--map label=COLUMN"),
        ({}, "query,title,label\na,x,1\n,y,2\n", r"row 2 has no query"),
        ({}, "query,title,label\na,x,1\nb,y,\n", r"row 2 has no label"),
        ({}, "query,title,label\na,x,1\nb,y,1\n", r"all training rows have the label '1'"),
        ({}, "query,title,label\na,x,1\na,x,2\n",
         r"row 2 \(query 'a'\) has the query and the product of row 1 \(1 such row\): leave.*--map id=COLUMN"),
        ({}, "id,query,title,label\n1,a,x,1\n1,b,y,2\n",
         r"row 2 \(query 'b'\) has the id of row 1 \(1 such row\): ids must differ"),
        ({}, "search,name,grade\na,x,1\n",
         r"lacks the columns 'query', 'title', 'label': it has search, name, grade; say which they are with "
         r"`--map query=COLUMN,title=COLUMN,label=COLUMN`, or write query = "),
        ({}, "query,title,label,split\na,x,1,dev\n", r"the split 'dev' of row 1 is neither train nor test"),
        ({"labels": {"levels": [0, 1, 2, 3]}}, "query,title,label\na,x,1\nb,y,5\n",
         r"the label '5' of row 2 is not among 0, 1, 2, 3: write levels = \[0, 1, 2, 3, 5\] in \[labels\] "
         r"of mine.toml"),
        ({"labels": {"levels": [0, 1]}}, "query,title,label\na,x,good\n",
         r"'good' of row 1 is not among 0, 1: correct the row"),
        ({"labels": {"range": [1, 3]}}, "query,title,label\na,x,3.5\n",
         r"'3.5' of row 1 is not a number from 1 to 3: write range = \[1, 3.5\]"),
        ({"labels": {"range": [1, 3]}}, "query,title,label\na,x,nan\n",
         r"'nan' of row 1 is not a number from 1 to 3: correct"),
        ({"labels": {"names": ["no", "yes"], "ordered": True}}, "query,title,label\na,x,maybe\n",
         r"write names = \[\"no\", \"yes\", \"maybe\"\]"),
        ({"locales": {"de": {}, "fr": {}}}, "query,title,label,locale\na,x,1,it\nb,x,2,de\n",
         r"unknown locale 'it': known are de, fr"),
    ],
)  # fmt: skip
def test_what_does_not_fit_gets_a_sentence_with_the_fix(
    tmp_path: Path, keys: dict[str, Any], text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        saved(tmp_path, contest(**keys), rows_csv=text)


def test_a_column_that_the_definition_names_must_be_there(tmp_path: Path) -> None:
    # A field that it only lists may be left out.
    _, products = read(tmp_path, contest(), rows_csv=ROWS)
    assert "description" not in products
    for name in ("description", "id"):
        of = contest(columns={name: "their own"})
        with pytest.raises(InputError, match=f"lacks the column 'their own'.*--map {name}=COLUMN"):
            read(tmp_path, of, rows_csv=ROWS)
        read(tmp_path, of, {name: "title"}, rows_csv=ROWS.replace("red cup,A", "x,A"))


def test_test_rows_have_the_fields_of_training_rows(tmp_path: Path) -> None:
    of = contest(files={"train": "train.csv", "test": "test.csv"})
    with pytest.raises(InputError, match=r"test.csv lacks the column 'title'"):
        read(tmp_path, of, train_csv=ROWS, test_csv="query,name\nred cup,A green cup\n")
