"""Rows that belong to no workspace: what is read of them, and what is refused with which sentence."""

import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from competition.core.errors import InputError
from competition.data.store import EXAMPLE_COLUMNS, PRODUCT_COLUMNS
from competition.pipeline.new_rows import (
    NewRows,
    check_target,
    from_python,
    read_file,
    read_map,
    target_beside,
    write_file,
)

ROWS = pd.DataFrame(
    {
        "query": ["usb cable", "usb cable", "café", "usb cable", "usb cable"],
        "product_title": ["USB cable", "Hose", "Café molido", "USB cable", "USB cable"],
        "product_locale": ["us", "us", "es", "us", "es"],
    }
)


def refused(table: pd.DataFrame) -> str:
    """The sentence that rows are refused with."""
    with pytest.raises(InputError) as error:
        NewRows.make(table, "FILE")
    return str(error.value)


def test_each_distinct_pair_is_there_once_and_each_row_knows_its_own() -> None:
    rows = NewRows.make(ROWS, "FILE", first_id=-5)
    assert tuple(rows.examples) == EXAMPLE_COLUMNS
    assert tuple(rows.products) == PRODUCT_COLUMNS
    assert rows.of_row.tolist() == [
        0,
        1,
        2,
        0,
        3,
    ]  # the fourth row repeats the first, the fifth has another locale
    assert rows.examples["example_id"].tolist() == [-5, -4, -3, -2]
    assert rows.examples["query_id"].tolist() == [
        0,
        0,
        1,
        2,
    ]  # one list of candidates per locale and query
    joined = rows.examples.merge(rows.products, on=["locale", "product_id"]).iloc[rows.of_row]
    assert joined["title"].tolist() == ROWS["product_title"].tolist()
    assert (rows.examples["split"] == "test").all()
    assert rows.examples["label"].isna().all()


def test_products_that_differ_in_any_field_or_in_their_id_are_different() -> None:
    table = pd.DataFrame(
        {"query": "q", "product_title": ["t"] * 4, "product_brand": ["", None, "b", "b"]}
    )
    assert NewRows.make(table, "FILE").of_row.tolist() == [0, 0, 1, 1]
    assert NewRows.make(table.assign(product_id=["1", "1", "1", "2"]), "FILE").of_row.tolist() == [
        0,
        0,
        1,
        2,
    ]


def test_columns_may_be_called_as_in_a_workspace_and_numbers_are_text() -> None:
    table = pd.DataFrame(
        {"query": [501, 502], "title": [1, 2], "locale": ["jp", ""], "bullets": [None, "  "]}
    )
    rows = NewRows.make(table, "FILE", locale="es")
    assert rows.examples["query"].tolist() == ["501", "502"]
    assert rows.products["title"].tolist() == ["1", "2"]
    assert rows.products["locale"].tolist() == ["jp", "es"]  # the locale of rows that name none
    assert rows.products["bullets"].tolist() == ["", ""]


def test_what_is_missing_is_said() -> None:
    table = pd.DataFrame(
        {"query": ["a", "b"], "product_title": ["t", " "], "product_description": [None, ""]}
    )
    assert NewRows.make(table, "FILE").remarks == (
        "FILE has no product_brand, product_color, product_bullet_point: what is missing is read as empty.",
        "FILE: 1 of 2 rows say nothing of their product.",
    )


def test_rows_that_cannot_be_answered_are_refused_by_name() -> None:
    assert refused(ROWS.head(0)) == "FILE has no rows."
    assert (
        refused(ROWS.drop(columns="query"))
        == "FILE lacks the column 'query': it has product_title, product_locale."
    )
    assert "lacks the column 'product_title'" in refused(ROWS.drop(columns="product_title"))
    spelled = "FILE: the column 'Query' is to be written 'query'."
    assert refused(ROWS.rename(columns={"query": "Query"})) == spelled
    assert "'TITLE' is to be written 'title'" in refused(
        ROWS.rename(columns={"product_title": "TITLE"})
    )
    assert "'Brand' is to be written 'brand'" in refused(
        ROWS.assign(Brand="b")
    )  # else it would be read as empty
    # A query of blanks alone says nothing, nor does one of zero-width characters that NFKC keeps as
    # they are.
    blank = ROWS.assign(query=["a", " \u3000", "", "b", None])
    assert refused(blank).startswith("FILE: row 2 has an empty query (3 such rows)")
    assert refused(ROWS.assign(product_locale="uk")) == (
        "FILE: row 1 has the unknown locale 'uk': known are us, es, jp."
    )
    with pytest.raises(InputError, match="^There is no locale 'fr': known are us, es, jp.$"):
        NewRows.make(ROWS, "FILE", locale="fr")
    assert "row 1 holds bytes in 'query'" in refused(ROWS.assign(query=[b"a"] * 5))
    assert "row 3 holds list in 'product_title'" in refused(
        ROWS.assign(product_title=["a", "b", ["c"], "d", "e"])
    )
    assert "half a character" in refused(from_python("a", ["x", "\ud83d"]))


def test_python_gives_one_query_per_product_or_one_for_all() -> None:
    assert from_python("a", ["x", "y"])["query"].tolist() == ["a", "a"]
    frame = pd.DataFrame({"product_title": ["x", "y"], "product_brand": ["b", "c"]}, index=[7, 3])
    table = from_python(["a", "b"], frame)
    assert table["query"].tolist() == ["a", "b"]
    assert table["product_brand"].tolist() == ["b", "c"]
    with pytest.raises(InputError, match="There are 1 query and 2 products"):
        from_python(["a"], ["x", "y"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "shift_jis"])
def test_a_csv_file_is_read_in_its_encoding(encoding: str, tmp_path: Path) -> None:
    text = 'query,product_title,note\n007,nan,\n"a, b","two\nlines",#NA\n' + (
        "\u30ab,x,y\n" if "1252" not in encoding else "é,x,y\n"
    )
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode(encoding))
    table = read_file(path, "utf-8" if encoding == "utf-8-sig" else encoding).to_pandas()
    assert list(table) == ["query", "product_title", "note"]
    assert table.iloc[:2].to_numpy().tolist() == [["007", "nan", ""], ["a, b", "two\nlines", "#NA"]]
    assert len(table) == 3


def test_a_file_that_cannot_be_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    def sentence(name: str, content: bytes, encoding: str = "utf-8") -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as error:
            read_file(tmp_path / name, encoding)
        return str(error.value)

    latin = "query,product_title\ncafé con leche,x\n".encode("cp1252")
    assert "is not utf-8" in sentence("a.csv", latin)
    assert "--encoding cp1252" in sentence("a.csv", latin)
    assert "is not utf-8" in sentence("a.csv", "query,product_title\n".encode("utf-16"))
    assert sentence("a.csv", latin, "klingon").startswith("There is no encoding 'klingon'")
    assert sentence("a.csv", b"").endswith("is empty.")
    assert "is not a readable CSV file" in sentence("a.csv", b"query,product_title\na,b,c,d\n")
    assert "has the column 'query' twice" in sentence("a.csv", b"query,query\na,b\n")
    assert "is not a readable parquet file" in sentence("a.parquet", b"PAR1")
    assert "ends in neither .csv nor .parquet" in sentence("a.xlsx", b"x")
    with pytest.raises(InputError, match="is missing"):
        read_file(tmp_path / "none.csv")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_what_is_written_is_read_again(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"rows{ending}"
    write_file(
        path, pa.Table.from_pandas(ROWS), pd.DataFrame({"score": [0.1, 1 / 3, 1.0, 0.0, 2.0]})
    )
    again = read_file(path).to_pandas()
    assert again[list(ROWS)].to_numpy().tolist() == ROWS.to_numpy().tolist()
    assert again["score"].astype(float).tolist() == [0.1, 1 / 3, 1.0, 0.0, 2.0]


def test_no_column_is_written_over() -> None:
    rows = pa.Table.from_pandas(ROWS.assign(score=1.0))
    check_target(Path("x.csv"), rows, ["p_exact"])
    with pytest.raises(InputError, match="The column 'score' is there already"):
        check_target(Path("x.csv"), rows, ["score"])
    with pytest.raises(InputError, match="The folder nowhere is missing"):
        check_target(Path("nowhere/x.csv"), rows, [])
    with pytest.raises(InputError, match=r"name a file that does with --out"):
        check_target(Path("x.txt"), rows, [])


def test_ids_follow_the_rows_in_their_order() -> None:
    rows = NewRows.make(ROWS.iloc[::-1], "FILE")
    assert np.array_equal(rows.examples["example_id"], np.arange(4))


# --- what is on a disk comes back
# --------------------------------------------------------------------------------


def test_columns_that_are_only_copied_keep_their_types_and_the_index(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "query": "usb",
            "product_title": ["a", "b", "c"],
            "stock": pd.array([2**62 + 1, None, 3], "Int64"),
            "price": [decimal.Decimal("1.50"), None, decimal.Decimal("2.00")],
            "new": pd.array([True, None, False], "boolean"),
            "shelf": pd.Categorical(["x", None, "y"]),
            "day": [datetime.date(2022, 1, 1), None, datetime.date(1970, 1, 1)],
        },
        index=pd.Index([7, 9, 8], name="sku"),
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    read = read_file(tmp_path / "rows.parquet")
    said = pd.DataFrame({"score": [0.5, 0.25, 1.0]})
    write_file(tmp_path / "said.parquet", read, said)
    back = pd.read_parquet(tmp_path / "said.parquet")
    pd.testing.assert_frame_equal(
        back.drop(columns="score"), pd.read_parquet(tmp_path / "rows.parquet")
    )
    write_file(tmp_path / "said.csv", read, said)
    lines = (tmp_path / "said.csv").read_text().splitlines()
    assert lines[1].startswith(f"usb,a,{2**62 + 1},1.50,true,x,2022-01-01,7,0.5")
    assert lines[2] == "usb,b,,,,,,9,0.25"


def test_an_index_of_even_numbers_is_in_the_metadata_alone(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"query": "usb", "product_title": ["a", "b"]}, index=pd.RangeIndex(5, 9, 2, name="sku")
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    read = read_file(tmp_path / "rows.parquet")
    assert read["sku"].to_pylist() == [5, 7]
    write_file(tmp_path / "said.parquet", read, pd.DataFrame({"score": [0.5, 0.25]}))
    assert pd.read_parquet(tmp_path / "said.parquet").index.tolist() == [5, 7]


@pytest.mark.parametrize("title", ["a\rb", ",\n,"])
def test_all_text_is_quoted_where_a_text_has_several_lines(title: str, tmp_path: Path) -> None:
    table = pa.table({"query": ["usb", "x"], "product_title": [title, 'say "no"']})
    write_file(tmp_path / "said.csv", table, pd.DataFrame({"score": [0.5, 0.25]}))
    assert read_file(tmp_path / "said.csv")["product_title"].to_pylist() == [title, 'say "no"']


def test_parts_are_one_table_and_lists_go_into_no_csv_file(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for number, title in ((10, "c"), (2, "b"), (1, "a")):
        table = pa.table({"query": ["usb"], "product_title": [title], "tags": [[number]]})
        pq.write_table(table, tmp_path / "rows" / f"part.{number}.parquet")
    read = read_file(tmp_path / "rows")
    assert read["product_title"].to_pylist() == ["a", "b", "c"]
    assert target_beside(tmp_path / "rows", "c1") == tmp_path / "rows-c1.parquet"
    with pytest.raises(InputError, match="'tags' holds list.*name a .parquet file"):
        check_target(tmp_path / "said.csv", read, [])
    pq.write_table(pa.table({"query": ["usb"]}), tmp_path / "rows" / "part.11.parquet")
    with pytest.raises(InputError, match=r"part.11.parquet has other columns than"):
        read_file(tmp_path / "rows")


def test_other_column_names_are_mapped_and_unread_ones_known() -> None:
    table = pd.DataFrame(
        {"search": ["usb"], "name": ["USB cable"], "product_titel": ["x"], "sku": [7]}
    )
    rows = NewRows.make(table, "FILE", called=read_map(["query=search", "product_title=name"]))
    assert rows.examples["query"].tolist() == ["usb"]
    assert rows.products["title"].tolist() == ["USB cable"]
    assert rows.unread == ("product_titel", "sku")
    assert "product_brand" in rows.remarks[0]
    assert "lacks the column 'serch' (did you mean 'search'?)" in refusal_of_map(
        table, "query=serch"
    )
    for pairs, words in (
        (["query"], "names no column"),
        (["qury=a"], "did you mean 'query'"),
        (["title=a"] * 2, "twice"),
    ):
        with pytest.raises(InputError, match=words):
            read_map(pairs)


def refusal_of_map(table: pd.DataFrame, pair: str) -> str:
    with pytest.raises(InputError) as error:
        NewRows.make(table, "FILE", called=read_map([pair]))
    return str(error.value)


def test_rows_of_a_workspace_are_recognised_by_locale_query_and_title() -> None:
    examples = pd.DataFrame(
        {"query": ["USB  Cable", "hose"], "locale": "us", "product_id": ["1", "2"]}
    )
    products = pd.DataFrame(
        {"product_id": ["1", "2"], "locale": "us", "title": ["USB cable", "Hose"]}
    )
    assert NewRows.make(ROWS, "FILE").among(examples, products).tolist() == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_text_where_a_list_is_meant_is_refused() -> None:
    for products in ("USB cable", b"USB", {"product_title": ["USB"]}):
        with pytest.raises(InputError, match="where a list is expected"):
            from_python("usb", products)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="The queries are a bytes"):
        from_python(b"usb", ["x", "y", "z"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'product_brand' holds double"):
        NewRows.make(
            from_python(
                "usb", pd.DataFrame({"product_title": ["a", "b"], "product_brand": [501, None]})
            ),
            "X",
        )
