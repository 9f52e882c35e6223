"""Which files are read, and what separates their cells."""

import gzip
from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.data import store
from competition.data.tables.reader import read_tables
from tests.conftest import comp
from tests.data.tables.made import ROWS, contest, read


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        (ROWS.replace(",", ";"), ""),
        (ROWS.replace(",", "\t"), ""),
        (ROWS.replace(",", "|"), "|"),
        (ROWS.replace("query", "Query"), ""),
        (gzip.compress(ROWS.encode()), ""),
    ],
    ids=["semicolon", "tab", "named", "upper case", "packed"],
)
def test_what_separates_cells_is_seen(tmp_path: Path, content: str | bytes, delimiter: str) -> None:
    name = "rows_csv_gz" if isinstance(content, bytes) else "rows_csv"
    of = contest(files={"delimiter": delimiter})
    examples, _ = read(tmp_path, of, **{name: content})
    assert examples["query"].tolist() == ["red cup", "red cup", "lamp"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    of = contest(files={"rows": "judgments.csv"})
    with pytest.raises(InputError, match=r"lacks judgments.csv \(did you mean 'judgment.csv'"):
        read(tmp_path, of, judgment_csv=ROWS, others_csv=ROWS)
    with pytest.raises(InputError, match=r"holds 2 tables.*write rows = \"FILE\" into \[files\]"):
        read_tables(tmp_path, contest(), {})
    with pytest.raises(InputError, match="lacks the column 'grade' of --map"):
        read_tables(tmp_path / "others.csv", contest(), {"label": "grade"})
    with pytest.raises(
        InputError, match=r"is not utf-8, say what it is, such as --encoding cp1252"
    ):
        read(tmp_path, contest(), latin_csv=ROWS.replace("red", "größe").encode("latin-1"))
    with pytest.raises(InputError, match="give the folder that holds them"):
        read_tables(tmp_path / "others.csv", contest(files={"products": "p.csv"}), {})


def test_an_import_may_name_the_encoding(tmp_path: Path) -> None:
    space, file = tmp_path / "w", tmp_path / "rows.csv"
    assert comp("init", space, "--competition", "ratings").exit_code == 0
    file.write_bytes(ROWS.replace("red", "größe").encode("cp1252"))
    refused = comp("data", "import", file, "-w", space)
    assert refused.exit_code == 2
    assert "such as --encoding cp1252" in refused.stderr

    result = comp("data", "import", file, "--encoding", "cp1252", "-w", space)
    assert result.exit_code == 0, result.stderr
    assert "größe cup" in set(store.load_examples(Workspace.open(space))["query"])
