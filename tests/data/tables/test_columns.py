"""What the columns of a file are called."""

from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.data.tables.columns import parse_map
from tests.data.tables.made import contest, read


def test_map_goes_before_the_definition(tmp_path: Path) -> None:
    text = "search,name,grade,title\nred cup,A red cup,3,x\nlamp,Desk lamp,1,y\n"
    of = contest(columns={"title": "title"})
    called = parse_map(["query=search,title=name", "label=grade"], of)
    examples, products = read(tmp_path, of, called, rows_csv=text)
    assert examples["label"].tolist() == ["3", "1"]
    assert products["title"].tolist() == ["A red cup", "Desk lamp"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["query"], "names no column: write it as title=NAME"),
        (["qery=x"], r"There is no column to read 'qery' \(did you mean 'query'\?\)"),
        (["query=x", "query=y"], "names the column 'query' twice"),
    ],
)
def test_a_map_that_says_nothing_is_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_map(pairs, contest())


def test_a_comma_may_be_in_the_name_of_a_column() -> None:
    assert parse_map(["query=search, raw"], contest()) == {"query": "search, raw"}
