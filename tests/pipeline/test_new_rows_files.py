"""Files of rows that belong to no workspace: what is on a disk comes back, or is refused with which sentence."""

import datetime
import decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from competition.core.errors import InputError
from competition.pipeline.new_rows_files import check_target, read_file, target_beside, write_file

ROWS = pd.DataFrame(
    {
        "query": ["usb cable", "usb cable", "café", "usb cable", "usb cable"],
        "product_title": ["USB cable", "Hose", "Café molido", "USB cable", "USB cable"],
    }
)


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


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_what_a_spreadsheet_puts_between_cells_is_seen(separator: str, tmp_path: Path) -> None:
    text = 'query,"product_title"\nusb cable,"a, b; c"\n'.replace(",", separator, 2)
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    table = read_file(path).to_pandas()
    assert list(table) == ["query", "product_title"]
    assert table.to_numpy().tolist() == [["usb cable", "a, b; c"]]


def test_a_file_that_cannot_be_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
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
    answers = pd.DataFrame({"score": [0.5, 0.25, 1.0]})
    write_file(tmp_path / "answers.parquet", read, answers)
    back = pd.read_parquet(tmp_path / "answers.parquet")
    pd.testing.assert_frame_equal(
        back.drop(columns="score"), pd.read_parquet(tmp_path / "rows.parquet")
    )
    write_file(tmp_path / "answers.csv", read, answers)
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[1].startswith(f"usb,a,{2**62 + 1},1.50,true,x,2022-01-01,7,0.5")
    assert lines[2] == "usb,b,,,,,,9,0.25"


def test_an_index_of_even_numbers_is_in_the_metadata_alone(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"query": "usb", "product_title": ["a", "b"]}, index=pd.RangeIndex(5, 9, 2, name="sku")
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    read = read_file(tmp_path / "rows.parquet")
    assert read["sku"].to_pylist() == [5, 7]
    write_file(tmp_path / "answers.parquet", read, pd.DataFrame({"score": [0.5, 0.25]}))
    assert pd.read_parquet(tmp_path / "answers.parquet").index.tolist() == [5, 7]


@pytest.mark.parametrize("title", ["a\rb", ",\n,"])
def test_all_text_is_quoted_where_a_text_has_several_lines(title: str, tmp_path: Path) -> None:
    table = pa.table({"query": ["usb", "x"], "product_title": [title, 'say "no"']})
    write_file(tmp_path / "answers.csv", table, pd.DataFrame({"score": [0.5, 0.25]}))
    assert read_file(tmp_path / "answers.csv")["product_title"].to_pylist() == [title, 'say "no"']


def test_parts_are_one_table_and_lists_go_into_no_csv_file(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for number, title in ((10, "c"), (2, "b"), (1, "a")):
        table = pa.table({"query": ["usb"], "product_title": [title], "tags": [[number]]})
        pq.write_table(table, tmp_path / "rows" / f"part.{number}.parquet")
    read = read_file(tmp_path / "rows")
    assert read["product_title"].to_pylist() == ["a", "b", "c"]
    assert target_beside(tmp_path / "rows", "c1") == tmp_path / "rows-c1.parquet"
    with pytest.raises(InputError, match=r"'tags' holds list.*name a .parquet file"):
        check_target(tmp_path / "answers.csv", read, [])
    pq.write_table(pa.table({"query": ["usb"]}), tmp_path / "rows" / "part.11.parquet")
    with pytest.raises(InputError, match=r"part.11.parquet has other columns than"):
        read_file(tmp_path / "rows")
