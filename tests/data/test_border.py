"""Wrong input: one clear sentence, exit code 2, and the workspace stays as it was, byte for byte."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from competition.core.workspace import Workspace
from competition.data import store
from tests.conftest import comp, refused
from tests.data.test_esci import EXAMPLES, FOLDERS, PRODUCTS, tiny, write_a, write_b

TASK1, TASK2, TASK3 = FOLDERS.values()
TRAIN, TEST, CATALOGUE = "train-v0.3.csv", "test_public-v0.3.csv", "product_catalogue-v0.3.csv"
Break = Callable[[Path], None]
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 51234567\n"


def edit(file: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Break:
    """Change the rows of one parquet file."""

    def apply(folder: Path) -> None:
        change(pd.read_parquet(folder / file)).to_parquet(folder / file, index=False)

    return apply


def cell(column: str, value: object, example_id: int = 104) -> Break:
    """Set one cell of the examples; beside a word, numbers become digits in strings."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        is_row = frame["example_id"] == example_id
        if isinstance(value, str):
            frame[column] = frame[column].astype("str")
        elif frame[column].dtype == "int64":
            frame[column] = frame[column].astype("float64")  # as a gap makes them
        frame.loc[is_row, column] = value
        return frame

    return edit(EXAMPLES, change)


def again(**changes: object) -> Break:
    """Add a copy of the row of example 104 (query_id 1, query 007, product 004, locale es) with some cells changed."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([frame, frame[frame["example_id"] == 104].assign(**changes)])

    return edit(EXAMPLES, change)


def content(file: str, data: bytes) -> Break:
    """Replace a file."""
    return lambda folder: (folder / file).write_bytes(data) and None


def remove(file: str) -> Break:
    """Remove a file."""
    return lambda folder: (folder / file).unlink()


def text(file: str, old: str, new: str) -> Break:
    """Replace the first occurrence of a text in a CSV file."""

    def apply(folder: Path) -> None:
        path = folder / file
        before = path.read_text(encoding="utf-8")
        assert old in before
        path.write_text(before.replace(old, new, 1), encoding="utf-8")

    return apply


def everywhere(old: str, new: str, *tasks: str) -> Break:
    """Replace the first occurrence of a text in the training files of several tasks."""

    def apply(folder: Path) -> None:
        for task in tasks:
            text(f"{task}/{TRAIN}", old, new)(folder)

    return apply


def number_rows(path: Path) -> None:
    """Write a number before each row but none before the header, as a table saved with its index looks to some."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join([header, *(f"{i},{row}" for i, row in enumerate(rows))]) + "\n", encoding="utf-8"
    )


LAYOUT_A: dict[str, tuple[Break, tuple[str, ...]]] = {
    "examples are missing": (remove(EXAMPLES), (EXAMPLES, "missing")),
    "products are missing": (remove(PRODUCTS), (PRODUCTS, "missing")),
    "examples lack a column": (
        edit(EXAMPLES, lambda f: f.drop(columns="esci_label")),
        (EXAMPLES, "lacks the column 'esci_label'"),
    ),
    "products lack a column": (
        edit(PRODUCTS, lambda f: f.drop(columns="product_color")),
        (PRODUCTS, "lacks the column 'product_color'"),
    ),
    "a Git-LFS pointer": (
        content(PRODUCTS, LFS_POINTER),
        (PRODUCTS, "Git-LFS pointer", "git lfs pull"),
    ),
    "an empty file": (content(EXAMPLES, b""), (EXAMPLES, "is empty")),
    "no parquet file": (
        content(EXAMPLES, b"example_id,query\n"),
        (EXAMPLES, "not a readable parquet"),
    ),
    "a file that is cut off": (
        content(PRODUCTS, b"PAR1" + b"\0" * 50),
        (PRODUCTS, "not a readable parquet"),
    ),
    "no rows": (edit(EXAMPLES, lambda f: f.head(0)), ("raw", "no rows")),
    "no test rows": (edit(EXAMPLES, lambda f: f[f["split"] == "train"]), ("raw", "no test rows")),
    "no train rows": (edit(EXAMPLES, lambda f: f[f["split"] == "test"]), ("raw", "no train rows")),
    "an unknown label": (
        cell("esci_label", "X"),
        ("examples.parquet", "example_id 104", "label 'X'", "E, S, C, I"),
    ),
    "an unknown locale": (
        cell("product_locale", "de"),
        ("example_id 104", "locale 'de'", "us, es, jp"),
    ),
    "no locale": (cell("product_locale", None), ("example_id 104", "locale")),
    "an unknown split": (cell("split", "dev"), ("example_id 104", "split 'dev'", "train, test")),
    "the same locale, query and product": (
        again(example_id=999, query_id=77),
        ("example_id 999", "'007'", "'004'", "(locale, query, product_id)"),
    ),
    "the same example_id": (again(product_id="005b"), ("example_id 104", "(example_id)", "twice")),
    "the same query_id and product_id": (
        again(example_id=999, product_locale="us"),
        ("example_id 999", "(query_id, product_id)", "twice"),
    ),
    "a query_id with two texts": (
        again(example_id=999, query="other", product_id="999"),
        ("query_id 1 has", "more than one query"),
    ),
    "an empty query": (cell("query", ""), ("example_id 104", "empty query")),
    "a query of white space": (cell("query", " \u3000\t"), ("example_id 104", "empty query")),
    "a missing query": (cell("query", None), ("example_id 104", "empty query")),
    "an empty product_id": (cell("product_id", ""), ("example_id 104", "empty product_id")),
    "an id that is a word": (
        cell("example_id", "abc"),
        (EXAMPLES, "row 5 ", "example_id 'abc'", "not an integer"),
    ),
    "an id that is no whole number": (
        cell("query_id", 1.5),
        (EXAMPLES, "row 5 ", "query_id", "1.5", "not an integer"),
    ),
    "a missing id": (cell("query_id", None), (EXAMPLES, "row 5 ", "query_id", "not an integer")),
    "an id beyond 64 bits": (cell("query_id", "9" * 19), (EXAMPLES, "query_id", "64 bits")),
    "a version flag that is a word": (
        cell("small_version", "yes"),
        (EXAMPLES, "small_version", "yes"),
    ),
    "a missing version flag": (cell("large_version", None), (EXAMPLES, "large_version")),
    "a catalogue product twice": (
        edit(
            PRODUCTS,
            lambda f: pd.concat([f, f[f["product_id"] == "004"].assign(product_title="other")]),
        ),
        ("product '004'", "es", "twice"),
    ),
    "a catalogue product of an unknown locale": (
        edit(PRODUCTS, lambda f: f.assign(product_locale=f["product_locale"].replace("jp", "de"))),
        ("product '006'", "locale 'de'"),
    ),
    "a training row without label": (
        cell("esci_label", None),
        ("example_id 104", "training row without a label"),
    ),
    "neither layout": (
        lambda folder: [path.unlink() for path in folder.iterdir()] and None,
        ("neither layout", "raw"),
    ),
    "no folder": (shutil.rmtree, ("raw",)),
}


def retyped(column: str, kind: pa.DataType, file: str = EXAMPLES) -> Break:
    """Cast one column of a parquet file."""

    def apply(folder: Path) -> None:
        table = pq.read_table(folder / file)
        values = (
            table[column].cast(kind)
            if not pa.types.is_dictionary(kind)
            else table[column].dictionary_encode()
        )
        pq.write_table(
            table.set_column(table.schema.get_field_index(column), column, values), folder / file
        )

    return apply


def column_twice(folder: Path) -> None:
    """Write the examples with a second column of the same name."""
    table = pq.read_table(folder / EXAMPLES)
    pq.write_table(table.append_column("query", table["product_id"]), folder / EXAMPLES)


def not_utf8(folder: Path) -> None:
    """Write queries that are no text."""
    table = pq.read_table(folder / EXAMPLES)
    queries = pa.array([b"caf\xe9"] * len(table)).view(pa.string())
    pq.write_table(
        table.set_column(table.schema.get_field_index("query"), "query", queries), folder / EXAMPLES
    )


LAYOUT_A |= {
    "bytes": (retyped("query", pa.binary()), ("the column 'query' holds binary",)),
    "times": (edit(PRODUCTS, lambda f: f.assign(product_title=pd.Timestamp(0))), ("'product_title' holds timestamp",)),
    "lists": (edit(EXAMPLES, lambda f: f.assign(query=[["a"]] * len(f))), ("the column 'query' holds list",)),
    "product ids as floats": (edit(PRODUCTS, lambda f: f.assign(product_id=1.5)), ("'product_id' holds double",)),
    "a column twice": (column_twice, ("has the column 'query' twice",)),
    "text that is not UTF-8": (not_utf8, ("not a readable parquet", "UTF8")),
    "a control character in an id": (cell("product_id", "a\rb"), ("example_id 104", "control characters")),
    "an escape sequence": (cell("esci_label", "\x1b[2J\u202e"), ("example_id 104", r"'\x1b[2J\u202e'")),
    "a label of a megabyte": (cell("esci_label", "E" * 2**20), ("example_id 104", "EEE...EEE", "known are E, S, C, I")),
}  # fmt: skip


LAYOUT_B: dict[str, tuple[Break, tuple[str, ...]]] = {
    "no training file": (remove(f"{TASK1}/{TRAIN}"), (TASK1, "train-v")),
    "no test file": (remove(f"{TASK2}/{TEST}"), (TASK2, "test_public-v")),
    "no catalogue": (remove(f"{TASK3}/{CATALOGUE}"), (TASK3, "product_catalogue-v")),
    "a missing column": (
        text(f"{TASK2}/{TRAIN}", "query_locale", "locale"),
        (f"{TASK2}/{TRAIN}", "lacks the column 'query_locale'"),
    ),
    "a column in another case": (
        text(f"{TASK2}/{TRAIN}", "query_locale", "Query_Locale"),
        (f"{TASK2}/{TRAIN}", "the column 'Query_Locale' is to be written 'query_locale'"),
    ),
    "another separator": (
        content(f"{TASK2}/{TRAIN}", b"example_id;query;product_id\n1;red shoes, 2 pairs;007\n"),
        (f"{TASK2}/{TRAIN}", "the columns are separated by ';'"),
    ),
    "a catalogue that lacks a column": (
        text(f"{TASK2}/{CATALOGUE}", "product_color_name", "color"),
        (f"{TASK2}/{CATALOGUE}", "lacks the column 'product_color_name'"),
    ),
    "another encoding": (
        content(f"{TASK2}/{TRAIN}", "example_id,query\n1,caf\u00e9\n".encode("latin-1")),
        (f"{TASK2}/{TRAIN}", "UTF-8"),
    ),
    "a Git-LFS pointer": (
        content(f"{TASK2}/{CATALOGUE}", LFS_POINTER),
        (f"{TASK2}/{CATALOGUE}", "Git-LFS pointer"),
    ),
    "an empty file": (content(f"{TASK3}/{TEST}", b""), (f"{TASK3}/{TEST}", "is empty")),
    "no zip file": (
        lambda folder: (folder / TASK3 / TRAIN).rename(folder / TASK3 / f"{TRAIN}.zip") and None,
        (f"{TASK3}/{TRAIN}.zip", "is not a zip archive, though its name says so"),
    ),
    "an open quotation mark": (
        text(f"{TASK2}/{TRAIN}", "124,NULL", '124,"NULL'),
        (f"{TASK2}/{TRAIN}", "not a readable CSV"),
    ),
    "a row with a cell too many": (
        text(f"{TASK2}/{TRAIN}", "104,007,", "104,007,,"),
        (f"{TASK2}/{TRAIN}", "not a readable CSV", "line 6"),
    ),
    "rows with a cell more than the header": (
        lambda folder: number_rows(folder / TASK2 / TEST),
        (f"{TASK2}/{TEST}", "cells"),
    ),
    "an unknown label": (
        everywhere("exact", "exakt", TASK1, TASK2),
        (f"{TASK1}/{TRAIN}", "query 'red shoes'", "label 'exakt'", "exact, substitute"),
    ),
    "an empty label": (
        everywhere("exact", "", TASK1, TASK2),
        (f"{TASK1}/{TRAIN}", "query 'red shoes'", "label ''"),
    ),
    "an unknown substitute label": (
        text(f"{TASK3}/{TRAIN}", "no_substitute", "no"),
        (TASK3, "label 'no'"),
    ),
    "an id that is a word": (
        text(f"{TASK2}/{TRAIN}", "104,", "x104,"),
        (f"{TASK2}/{TRAIN}", "row 5 ", "example_id 'x104'", "not an integer"),
    ),
    "an unknown locale": (
        everywhere(",jp", ",de", TASK1, TASK2, TASK3),
        ("example_id 106", "locale 'de'"),
    ),
    "the same product twice for a query": (
        text(f"{TASK2}/{TRAIN}", "105,007,es,005", "105,007,es,004"),
        (f"{TASK2}/{TRAIN}", "'007'", "'004'", "duplicated"),
    ),
    "labels that disagree": (
        text(f"{TASK2}/{TRAIN}", "exact", "irrelevant"),
        ("label", "'red shoes'", "'000'"),
    ),
    "ids that disagree": (
        text(f"{TASK3}/{TRAIN}", "104,", "904,"),
        ("example_id", "'007'", "'004'", "904"),
    ),
}


@pytest.fixture(scope="module")
def with_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that holds good data already."""
    root = tmp_path_factory.mktemp("with-data") / "w"
    assert comp("init", root).exit_code == 0
    assert comp("data", "synth", "-w", root, "--queries", "60").exit_code == 0
    return root


@pytest.fixture
def root(with_data: Path, tmp_path: Path) -> Path:
    """A copy of it to import into."""
    return Path(shutil.copytree(with_data, tmp_path / "w"))


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_refused(raw: Path, root: Path, words: tuple[str, ...]) -> None:
    before = files(root)
    sentence = refused("data", "import", raw, "-w", root)
    assert sentence.endswith("."), sentence
    for word in words:
        assert word in sentence, sentence
    assert files(root) == before


@pytest.mark.parametrize("wrong", LAYOUT_A)
def test_wrong_parquet_files_are_refused(wrong: str, root: Path, tmp_path: Path) -> None:
    raw = write_a(tmp_path / "raw", *tiny())
    break_it, words = LAYOUT_A[wrong]
    break_it(raw)
    check_refused(raw, root, words)


@pytest.mark.parametrize("wrong", LAYOUT_B)
def test_wrong_csv_files_are_refused(wrong: str, root: Path, tmp_path: Path) -> None:
    raw = write_b(tmp_path / "raw", *tiny())
    break_it, words = LAYOUT_B[wrong]
    break_it(raw)
    check_refused(raw, root, words)


@pytest.mark.parametrize(
    "wrong", ["products are missing", "an unknown label", "a catalogue product twice"]
)
def test_refused_files_leave_an_empty_workspace_empty(wrong: str, tmp_path: Path) -> None:
    raw = write_a(tmp_path / "raw", *tiny())
    break_it, words = LAYOUT_A[wrong]
    break_it(raw)
    assert comp("init", tmp_path / "w").exit_code == 0
    check_refused(raw, tmp_path / "w", words)
    assert list(files(tmp_path / "w")) == ["competition.toml"]


@pytest.mark.parametrize("write", [write_a, write_b])
def test_products_missing_from_the_catalogue_are_a_warning(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    examples, products = tiny()
    raw = write(tmp_path / "raw", examples, products[~products["product_id"].isin(["004", "030"])])
    assert comp("init", tmp_path / "w").exit_code == 0
    result = comp("data", "import", raw, "-w", tmp_path / "w")
    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "Of 36 rows, 2 have no product" in warnings[0]
    workspace = Workspace.open(tmp_path / "w")
    assert len(store.load_examples(workspace)) == 36


def test_a_folder_without_settings_is_no_workspace(tmp_path: Path) -> None:
    raw = write_a(tmp_path / "raw", *tiny())
    sentence = refused("data", "import", raw, "-w", tmp_path)
    assert "is not a workspace" in sentence
    assert "comp init" in sentence
    assert set(files(tmp_path)) == {f"raw/{EXAMPLES}", f"raw/{PRODUCTS}"}


def test_the_current_folder_has_a_name_in_the_sentence(
    with_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_a(tmp_path / "raw", *tiny())
    cell("query", "")(raw)
    monkeypatch.chdir(raw)
    assert refused("data", "import", ".", "-w", with_data).startswith("raw: example_id 104")


@pytest.mark.parametrize("number", [1, 2, 3])  # of the catalogue, the examples, the card
def test_an_import_that_finds_no_room_leaves_the_old_data(
    number: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, before, synced = write_a(tmp_path / "raw", *tiny()), files(root / "data"), []

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) == number:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = comp("data", "import", raw, "-w", root)
    assert result.exit_code == 1
    assert "cannot be written (No space left on device); what was there" in result.stderr
    assert files(root / "data") == before
    assert len(synced) == number
    assert comp("data", "-w", root).exit_code == 0


def test_an_import_that_is_larger_than_the_disk_is_refused_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, before = write_a(tmp_path / "raw", *tiny()), files(root)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1_000)
    )
    result = comp("data", "import", raw, "-w", root)
    assert result.exit_code == 1
    assert "The import writes about 0.00 GB" in result.stderr
    assert "make room" in result.stderr
    assert files(root) == before


def test_good_data_replace_what_was_there(root: Path, tmp_path: Path) -> None:
    raw = write_a(tmp_path / "raw", *tiny())
    assert comp("data", "import", raw, "-w", root).exit_code == 0
    workspace = Workspace.open(root)
    assert store.load_card(workspace).source == "raw"
    assert len(store.load_examples(workspace)) == 36
    assert not workspace.planted.exists()


CATEGORIES = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    "changes",
    [
        [retyped("example_id", pa.string()), retyped("query_id", pa.large_string())],
        [
            retyped("esci_label", CATEGORIES),
            retyped("product_locale", CATEGORIES),
            retyped("split", CATEGORIES),
        ],
        [
            retyped("example_id", pa.int32()),
            retyped("query_id", pa.uint8()),
            retyped("large_version", pa.float64()),
        ],
        [retyped("query", CATEGORIES), retyped("product_brand", CATEGORIES, PRODUCTS)],
    ],
    ids=["digits in strings", "categories", "narrow numbers", "categories of text"],
)
def test_other_types_of_the_same_values_give_the_same_bytes(
    changes: list[Break], tmp_path: Path
) -> None:
    one, other = (write_a(tmp_path / name / "raw", *tiny()) for name in "ab")
    for change in changes:
        change(other)
    for raw in (one, other):
        assert comp("init", raw.parent / "w").exit_code == 0
        assert comp("data", "import", raw, "-w", raw.parent / "w").exit_code == 0
    assert files(one.parent / "w" / "data") == files(other.parent / "w" / "data")


def test_a_csv_column_twice_is_refused(root: Path, tmp_path: Path) -> None:
    raw = write_b(tmp_path / "raw", *tiny())
    text(f"{TASK2}/{TRAIN}", "query_locale", "query")(raw)
    check_refused(raw, root, (f"{TASK2}/{TRAIN}", "the column 'query' twice"))


def numbers_with_gaps(folder: Path) -> None:
    """Brands as whole numbers, one of which is missing, written by something else than pandas."""
    table = pq.read_table(folder / PRODUCTS).replace_schema_metadata(None)
    brands = pa.array([None, *range(500, 500 + len(table) - 1)], pa.int64())
    place = table.schema.get_field_index("product_brand")
    pq.write_table(table.set_column(place, "product_brand", brands), folder / PRODUCTS)


def the_same_as_text(folder: Path) -> None:
    numbers_with_gaps(folder)
    retyped("product_brand", pa.string(), PRODUCTS)(folder)


def as_index(folder: Path) -> None:
    """Ids as pandas' index, once of two levels and once in the metadata alone."""
    pd.read_parquet(folder / EXAMPLES).set_index("example_id").to_parquet(folder / EXAMPLES)
    pd.read_parquet(folder / PRODUCTS).set_index(["product_locale", "product_id"]).to_parquet(
        folder / PRODUCTS
    )


def in_parts(folder: Path) -> None:
    """Each file as a folder of two."""
    for file in (EXAMPLES, PRODUCTS):
        table = pq.read_table(folder / file)
        (folder / file).unlink()
        (folder / file).mkdir()
        (folder / file / "_SUCCESS").touch()
        pq.write_table(table[:7], folder / file / "part-0.parquet")
        pq.write_table(table[7:], folder / file / "part-1.parquet")


def below(folder: Path) -> None:
    """The files where the repository of the data set has them, with endings in capitals."""
    (folder / "shopping_queries_dataset").mkdir()
    for file in (EXAMPLES, PRODUCTS):
        (folder / file).rename(
            folder / "shopping_queries_dataset" / file.replace(".parquet", ".PARQUET")
        )


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (numbers_with_gaps, the_same_as_text),
        (as_index, lambda _: None),
        (in_parts, lambda _: None),
        (below, lambda _: None),
    ],
    ids=["numbers with gaps", "an index", "part files", "a clone of the repository"],
)
def test_what_is_on_the_disk_is_what_is_imported(
    change: Break, same: Break, tmp_path: Path
) -> None:
    one, other = (write_a(tmp_path / name / "raw", *tiny()) for name in "ab")
    change(one)
    same(other)
    for raw in (one, other):
        assert comp("init", raw.parent / "w").exit_code == 0
        result = comp("data", "import", raw, "-w", raw.parent / "w")
        assert result.exit_code == 0, result.stderr
    assert files(one.parent / "w" / "data") == files(other.parent / "w" / "data")
