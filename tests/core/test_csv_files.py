"""CSV files of strangers: every cell stays the text that it is, and what is no table is refused."""

import zipfile
from io import StringIO
from pathlib import Path

import pytest

from competition.core import archives
from competition.core.csv_files import read_text, refuse_misspelled
from competition.core.errors import InputError, escape_controls

TEXTS = (
    "nan", "none", "NULL", "007", "1e5", "1.50", "=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "a\0b", 'say "no"',
    "a, b", "a\nb", "a\r\nb", "\u202egnp.exe", "\x1b[2J", "\u200b", " ", "ﾎﾞﾄﾙ", "x" * 1_000_000,
)  # fmt: skip


def quoted(text: str) -> str:
    """A cell as a spreadsheet writes it."""
    return '"' + text.replace('"', '""') + '"'


def packed(folder: Path, **files: bytes) -> Path:
    """A file `answer.csv.zip` that holds these files; `_` in a name is written as `/`."""
    path = folder / "answer.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "/"), content)
    return path


def refusal(path: Path) -> str:
    """What is said of a file that must be refused."""
    with pytest.raises(InputError) as error:
        read_text(path, path.name)
    assert path.name in str(error.value)
    assert str(error.value).endswith(".")
    return str(error.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_every_cell_is_the_text_that_it_is(mark: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    rows = ['"id",text', *(f"{i},{quoted(text)}" for i, text in enumerate(TEXTS))]
    path.write_bytes((mark + end.join(rows) + end).encode())
    read = read_text(path, "file.csv")
    assert list(read.columns) == ["id", "text"]
    assert read["text"].tolist() == list(TEXTS)
    assert read["id"].tolist() == [str(i) for i in range(len(TEXTS))]
    again = read_text(StringIO(end.join(rows)), "file.csv")
    assert again["text"].tolist() == list(TEXTS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"id,id\n1,2\n", "the column 'id' twice"),
        (
            b"id,text\n1,a,b\n",
            "not a readable CSV file: it has more cells in line 2 than in its header",
        ),
        (b'id,text\n1,"a\n2,b\n', "not a readable CSV file"),
        ("id,text\n1,caf\u00e9\n".encode("latin-1"), "line 2 is not UTF-8, convert it first"),
        ("id,text\n1,a\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"sep=;\nid;text\n", "line 1 is 'sep=;', which only Excel understands"),
        (b"id;text;price,eur\n1;a;2\n", "the columns are separated by ';', not by commas"),
        (
            b"id;text\n1;a, b\n",
            "file.csv: the columns are separated by ';', not by commas: save it with commas.",
        ),
        (b'"id"\t"text"\n"1"\t"a"\n', "the columns are separated by '\\t', not by commas"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    assert words in refusal(path)


@pytest.mark.parametrize("found", ["Query", "QUERY", " query", "query "])
def test_a_column_that_is_spelled_otherwise_is_named(found: str) -> None:
    with pytest.raises(InputError) as error:
        refuse_misspelled("query", ["id", found], "FILE")
    assert str(error.value) == f"FILE: the column {found!r} is to be written 'query'."


def test_another_column_is_not_taken_for_a_misspelling() -> None:
    refuse_misspelled("query", ["id", "query", "queries", "query_id"], "FILE")


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    assert "is missing" in refusal(tmp_path / "file.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.csv")


# --- packed
# ------------------------------------------------------------------------------------------------------


def test_a_packed_file_is_read_where_it_lies(tmp_path: Path) -> None:
    path = packed(tmp_path, **{"data_train.csv": b"id,text\n1,nan\n"})
    assert read_text(path, path.name).to_numpy().tolist() == [["1", "nan"]]
    assert [file.name for file in tmp_path.iterdir()] == ["answer.csv.zip"]


@pytest.mark.parametrize(
    "name", ["../../evil.csv", "/etc/evil.csv", "..\\evil.csv", "C:\\evil.csv", "a/../../evil.csv"]
)
def test_a_packed_file_that_points_out_is_refused(name: str, tmp_path: Path) -> None:
    path = packed(tmp_path / ".", **{name: b"id\n1\n"})
    assert "points out of it" in refusal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["answer.csv.zip"]


def test_several_files_or_none_are_refused(tmp_path: Path) -> None:
    assert "holds 2 files" in refusal(
        packed(tmp_path, **{"a.csv": b"id\n1\n", "b.csv": b"id\n1\n"})
    )
    assert "holds 0 files" in refusal(packed(tmp_path))


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path, **{"a.csv": b"id\n" + b"1" * 1_000_000})  # packs about 1,000 times
    assert len(read_text(path, path.name)) == 1  # small enough to be no danger
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 999_999)
    assert "would unpack to 0.0 GB from 0.0 MB, more than 100 times its size" in refusal(path)
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1_000_003)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1_000_002)
    assert "would unpack" in refusal(path)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, **{"a.csv": b"id\n" + b"1" * 1_000_000})
    real, said = ((n).to_bytes(4, "little") for n in (1_000_003, 10))
    path.write_bytes(path.read_bytes().replace(real, said))
    assert "not a readable archive" in refusal(path)


def test_a_locked_or_broken_archive_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, **{"a.csv": b"id,text\n1,abcdefgh\n"})
    content = path.read_bytes()
    central = content.index(b"PK\x01\x02")
    locked = content[:6] + b"\1" + content[7 : central + 8] + b"\1" + content[central + 9 :]
    for broken in (
        locked,
        content[: len(content) // 2],
        content.replace(content[35:45], b"\xff" * 10),
    ):
        path.write_bytes(broken)
        assert "not a readable archive" in refusal(path)


def test_what_a_terminal_would_obey_is_shown_by_number() -> None:
    assert (
        escape_controls("red\x1b[2J \u202elamp\n\u3000\ud800 ñ ｱ")
        == r"red\x1b[2J \u202elamp\n\u3000\ud800 ñ ｱ"
    )


# --- read strictly
# -----------------------------------------------------------------------------------------------

ROWS = "id,text,shop\n1,cable,a\n2,{}\n3,{}\n4,lamp,d\n"


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ('"17 case,b', '"15 case,c', "line 4: text follows a closing quotation mark"),
        ('"17 case,b', '"15 case,c', "where a quoted cell of line 3 ends"),
        ('"17 case,b', "case,c", "line 3: its quotation mark is never closed"),
        (
            '"17 case,b',
            'case 15",c',
            "a quotation mark in line 3 makes one row of lines that look like rows",
        ),
        ('",b', '",c', "a quotation mark in line 3 makes one row of lines"),
        ('"say \\"hi\\"",b', "case,c", "line 3: text follows a closing quotation mark"),
        ('17\\" case,b', "case,c", "a backslash stands before a quotation mark in line 3"),
        ("case", "case,c", "it has fewer cells in line 3 than in its header (row 2 has 2 of 3)"),
        ("case,b,c", "case,c", "it has more cells in line 3 than in its header (row 2 has 4 of 3)"),
        ("a\rb,b", "case,c", "line 3: a carriage return stands outside of quotation marks"),
    ],
)
def test_a_row_that_is_not_what_it_seems_is_refused_by_line(
    one: str, other: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(ROWS.format(one, other).encode())
    assert words in refusal(path)


@pytest.mark.parametrize(
    "rows",
    [
        '1,"17 case,a\n2,case 15","b\n3,c,d"\n',
        '1,"17 case,a\n2,case 15",15" case\n',
        '1,"17 case,1\n2,case 15", \n',  # a cell of a blank is no comma of a text
    ],
)
def test_marks_that_happen_to_make_a_row_of_the_right_width_are_refused(
    rows: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.csv"
    path.write_text("id,text,shop\n" + rows)
    assert "a quotation mark in line 2 makes one row of lines" in refusal(path)


@pytest.mark.parametrize(
    "cell",
    [
        '"a line, and\nanother, with commas"',  # blanks behind the commas: a text
        '"a\nb"',
        '"C:\\dir, C:\\"',
        '"say \\""hi"',
        '17" case',
        "it's",
    ],
)
def test_texts_of_any_sort_are_no_mistakes(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(ROWS.format(f"{cell},b", "case,c").encode())
    text = cell[1:-1].replace('""', '"') if cell.startswith('"') else cell
    assert read_text(path, path.name)["text"].tolist() == ["cable", text, "case", "lamp"]


def test_who_quotes_commas_elsewhere_means_a_text_that_looks_like_a_row(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b'id,text\n1,"a\nb,c"\n2,d\n')
    assert "line 2 makes one row" in refusal(path)
    path.write_bytes(b'id,text\n1,"a\nb,c"\n2,"d,e"\n')
    assert read_text(path, path.name)["text"].tolist() == ["a\nb,c", "d,e"]


def test_blank_lines_are_named_or_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    for content, words in (
        (b"\nid,text\n1,a\n", "line 1 is empty"),
        (b"id,text\n1,a\n \n", "line 3 is empty (row 2"),
    ):
        path.write_bytes(content)
        assert words in refusal(path)
        assert read_text(path, path.name, blank_lines=True).to_numpy().tolist() == [["1", "a"]]


def test_lines_of_an_old_mac_are_lines() -> None:
    assert read_text(StringIO("id,text\r1,a\r2,b\r"), "file.csv")["text"].tolist() == ["a", "b"]
