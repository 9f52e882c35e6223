"""Made-up tables as users have them on their disks: each value comes back, or the file is refused by name and line."""

import bz2
import csv
import datetime
import decimal
import gzip
import io
import lzma
import shutil
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from competition.core.console import Progress
from competition.core.errors import InputError
from competition.data import esci, store
from competition.pipeline.new_rows import NewRows
from competition.pipeline.new_rows_files import check_target, read_file, write_file
from tests.data.test_esci import EXAMPLES, FOLDERS, PRODUCTS, tiny, write_a, write_b
from tests.esci import CONTEST
from tests.soak.hostile import explore

# --- what a table holds
# ------------------------------------------------------------------------------------------

ODD = (
    "", " ", "nan", "None", "NULL", "007", "1.50", "=1+1", 'say "no"', '"', '""', '"17 case', '15" case', 'case 15"',
    "a, b", "a,b", ",", "a\nb", "a\r\nb", "a\rb", "\r", "\n", "a;b", "a\tb", "a|b", "C:\\dir\\", '\\"', "'", "\ufeffx",
    "\x00", "\x1a", "\u2028", "é", "日本", "😀", "#1", "x" * 3000,
)  # fmt: skip
texts = st.sampled_from(ODD) | st.text(st.sampled_from(list('ab1 ,;"\\\n\r\té日')), max_size=8)
plain = st.text(st.sampled_from(list("ab1 é日'#")), min_size=1, max_size=6)
naive = (
    st.sampled_from(['"17 case', '15" case', 'case 15"', '"', "lamp", "", "17"]) | plain
)  # of who never quotes
KINDS: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "text": (texts, pa.string()),
    "large text": (texts, pa.large_string()),
    "categories": (st.sampled_from(["a", "b", "ü"]), pa.dictionary(pa.int8(), pa.string())),
    "integers": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "unsigned": (st.integers(0, 2**64 - 1), pa.uint64()),
    "floats": (st.floats(allow_nan=False, allow_infinity=False), pa.float64()),
    "decimals": (st.decimals(-1000, 1000, places=3), pa.decimal128(10, 3)),
    "booleans": (st.booleans(), pa.bool_()),
    "dates": (st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1)), pa.date32()),
    "times": (
        st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
        pa.timestamp("us"),
    ),
    "lists": (st.lists(st.integers(0, 9), max_size=2), pa.list_(pa.int64())),
    "bytes": (st.binary(max_size=3), pa.binary()),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".GZ": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": lambda content: _zipped(content),
}


def _zipped(content: bytes) -> bytes:
    """A file as macOS packs it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("table", content)
        archive.writestr("__MACOSX/._table", b"\0\5\x16\7")
    return packed.getvalue()


@dataclass(frozen=True)
class Form:
    """How a CSV file is written."""

    separator: str = ","
    end: str = "\n"
    quoting: str = "minimal"  # or all, naive (never), backslash
    encoding: str = "utf-8"
    last_end: bool = True  # whether the last line ends

    def text(self, rows: list[list[str]]) -> str:
        """The rows as a file; Python's own writer leaves a carriage return bare, which nobody could read."""
        if self.quoting == "naive":
            lines = [self.separator.join(row) for row in rows]
        elif self.quoting == "backslash":
            written = io.StringIO()
            writer = csv.writer(
                written,
                delimiter=self.separator,
                lineterminator="\n",
                doublequote=False,
                escapechar="\\",
            )
            writer.writerows(rows)
            lines = written.getvalue().splitlines()
        else:
            every = self.quoting == "all"
            lines = [
                self.separator.join(self._cell(cell, every, len(row) == 1) for cell in row)
                for row in rows
            ]
        return self.end.join(lines) + (self.end if self.last_end else "")

    def _cell(self, cell: str, every: bool, alone: bool) -> str:
        if (
            every
            or any(c in cell for c in f'"\r\n{self.separator}')
            or (alone and not cell.strip())
        ):
            return '"' + cell.replace('"', '""') + '"'
        return cell


forms = st.builds(
    Form,
    st.sampled_from([",", ",", ",", ",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["minimal", "all", "naive", "backslash"]),
    st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.booleans(),
)


@st.composite
def tables(draw: st.DrawFn, form: Form | None) -> pa.Table:
    """A table with the columns query and product_title and some of its writer's own."""
    rows = draw(st.integers(1, 5))
    cells = {"naive": naive, "backslash": plain | st.sampled_from(['say "no"', '17"'])}.get(
        form.quoting if form else "", texts
    )
    asked = plain.filter(lambda text: text.strip(" '#") != "")
    columns = {
        "query": pa.array([draw(asked) for _ in range(rows)]),
        "product_title": _column(draw, cells, rows),
    }
    for i in range(draw(st.integers(0, 3))):
        kind, type_ = (cells, pa.string()) if form else KINDS[draw(st.sampled_from(sorted(KINDS)))]
        columns[f"own {i}"] = _column(draw, kind, rows, type_, gaps=form is None)
    table = pa.table(columns)
    if form is None and draw(st.booleans()):
        table = table.add_column(0, "index", pa.array(range(rows), pa.int64()))
    return table


def _column(
    draw: st.DrawFn,
    cells: st.SearchStrategy[Any],
    rows: int,
    type_: pa.DataType | None = None,
    gaps: bool = False,
) -> pa.Array:
    drawn = [draw(st.none() | cells if gaps else cells) for _ in range(rows)]
    return pa.array(drawn, type_ or pa.string())


cases = st.tuples(
    st.none() | forms,
    st.sampled_from(sorted(PACKINGS)),
    st.sampled_from([".csv", ".parquet"]),  # of what is written
    st.booleans(),  # whether in part files
).flatmap(lambda how: st.tuples(st.just(how), tables(how[0])))


# --- where tables go
# ---------------------------------------------------------------------------------------------


def _write(path: Path, table: pa.Table, form: Form | None, packing: str) -> None:
    if form is None:
        held = io.BytesIO()
        if "index" in table.column_names:  # pandas keeps one of even numbers in its metadata alone
            frame = table.to_pandas(types_mapper=pd.ArrowDtype).set_index(
                pd.RangeIndex(len(table), name="index")
            )
            table = pa.Table.from_pandas(frame.drop(columns="index"))
            assert "index" not in table.column_names
        pq.write_table(table, held)
        content = held.getvalue()
    else:
        rows = [table.column_names, *(list(row.values()) for row in table.to_pylist())]
        content = form.text(rows).encode(form.encoding, "replace")
    path.write_bytes(PACKINGS[packing](content))


def _expected(form: Form | None, table: pa.Table) -> pa.Table | None:
    """What must be read of a file, perhaps; None where it must be refused."""
    if form is None:
        return table
    if form.encoding == "utf-16":
        return None
    if (
        form.encoding == "cp1252"
    ):  # what it holds beyond ASCII is no UTF-8, or was lost before it was written
        written = [
            [cell.encode("cp1252", "replace") for cell in column.to_pylist()]
            for column in table.columns
        ]
        if any(byte > 127 for column in written for cell in column for byte in cell):
            return None
        texts_ = [pa.array([cell.decode() for cell in column]) for column in written]
        return pa.table(dict(zip(table.column_names, texts_, strict=True)))
    return table


def _same(one: pa.Table, other: pa.Table) -> bool:
    return one.column_names == other.column_names and all(
        a.to_pylist() == b.to_pylist() for a, b in zip(one.columns, other.columns, strict=True)
    )


def _as_written(table: pa.Table) -> dict[str, list[Any]]:
    """What a CSV file says of a table's values, without the code that is tried."""

    def cell(value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        return value if isinstance(value, float) else str(value)

    return {name: [cell(value) for value in table[name].to_pylist()] for name in table.column_names}


def predicted(folder: Path, counted: Counter[str], case: Any) -> None:
    """What `comp predict` does around its model: rows are read, and written with what is said of them."""
    (form, packing, ending, parts), table = case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    suffix = f"{'.parquet' if form is None else '.csv'}{packing}"
    path = folder / ("parts" if parts else f"rows{suffix}")
    whole = not parts or "index" in table.column_names
    pieces = [table] if whole else [table.slice(i, 1) for i in range(len(table))]
    if parts:
        path.mkdir()
        (path / "_SUCCESS").touch()
    for i, piece in enumerate(pieces):
        _write(path / f"part-{i}{suffix}" if parts else path, piece, form, packing)
    expected, target = _expected(form, table), folder / f"out{ending}"
    try:
        read = read_file(path)
        assert expected is not None, f"taken: {read.to_pydict()}"
        assert _same(read, expected), (read.to_pydict(), expected.to_pydict())
        check_target(target, read, ["score"])
    except InputError as error:
        _refused(str(error), form, expected, counted)
        return
    rows = NewRows.make(read, "rows", CONTEST)
    assert len(rows.of_row) == len(table)
    said = pd.DataFrame({"score": np.linspace(0, 1 / 3, len(table))})
    write_file(target, read, said)
    again = read_file(target)
    assert [float(score) for score in again["score"].to_pylist()] == said["score"].tolist()
    again = again.drop_columns(["score"])
    if ending == ".parquet":
        assert _same(again, read)
        assert again.schema.types == read.schema.types
    else:
        for name, cells in _as_written(read).items():
            got: list[Any] = again[name].to_pylist()
            for cell, back in zip(cells, got, strict=True):
                at_hand = float(back) if isinstance(cell, float) else back
                assert at_hand == cell or _same_time(cell, back), (name, cell, back)
    counted[f"predict, {'parquet' if form is None else 'csv'}, taken"] += 1


def _same_time(cell: str, back: str) -> bool:
    """Whether two texts are the same point in time or the same number: Arrow writes more zeros than Python."""
    try:
        return datetime.datetime.fromisoformat(cell) == datetime.datetime.fromisoformat(back)
    except ValueError:
        return decimal.Decimal(cell) == decimal.Decimal(back)


def _refused(
    sentence: str, form: Form | None, expected: pa.Table | None, counted: Counter[str]
) -> None:
    assert sentence.endswith("."), sentence
    if form is None:
        assert "which no CSV file can" in sentence, sentence
    elif expected is not None:
        assert form.quoting != "all", sentence
        assert "line " in sentence, sentence
    counted[f"predict, {'parquet' if form is None else 'csv'}, refused"] += 1


_FIELDS = {
    "product_title": "title", "product_brand": "brand", "product_color": "color", "product_bullet_point": "bullets",
    "product_description": "description",
}  # fmt: skip


def imported(folder: Path, counted: Counter[str], case: Any) -> None:
    """Texts of products, and a query with its id, through an import in either layout."""
    form, packing, cells = case
    shutil.rmtree(folder, ignore_errors=True)
    examples, products = tiny()
    for column, drawn in zip(_FIELDS, cells, strict=True):
        products[column] = [*drawn, *products[column].fillna("").tolist()[len(drawn) :]]
    if form is None:
        write_a(folder, examples, products)
        name, ids = (EXAMPLES, PRODUCTS), products.astype({"product_id": "int64"})
        ids.set_index("product_id").to_parquet(
            folder / PRODUCTS
        )  # numbers where ids are wanted, and an index
        examples.assign(product_id=examples["product_id"].astype("int64")).set_index(
            "example_id"
        ).to_parquet(folder / name[0])
    else:
        write_b(folder, examples, products, ("task2",))
        path = folder / FOLDERS["task2"] / "product_catalogue-v0.3.csv"
        catalogue = pa.Table.from_pandas(
            products.rename(columns={"product_color": "product_color_name"})
        )
        path.unlink()
        _write(path.with_name(path.name + packing), catalogue, form, packing)
    try:
        _, read = esci.read(folder)
    except InputError as error:
        assert form is not None, str(error)
        if form.separator == "," and form.encoding in ("utf-8", "utf-8-sig"):
            assert "line " in str(error), str(error)
            assert form.quoting != "all", str(error)
        counted["import, refused"] += 1
        return
    assert form is None or (form.separator == "," and form.encoding != "utf-16")
    typed = (
        store._typed_products(read, CONTEST)
        .astype({"product_id": "int64"})
        .sort_values("product_id")
    )
    assert len(typed) == len(products)
    for column, name in _FIELDS.items():
        written = products[column].tolist()
        if form is not None and form.encoding == "cp1252":
            written = [cell.encode("cp1252", "replace").decode("cp1252") for cell in written]
        assert typed[name].tolist() == [cell if cell.strip() else "" for cell in written], name
    counted[f"import, {'parquet' if form is None else 'csv'}, taken"] += 1


def _texts_for(form: Form | None) -> st.SearchStrategy[Any]:
    cells = {"naive": naive, "backslash": plain | st.sampled_from(['say "no"', '17"'])}.get(
        form.quoting if form else "", texts
    )
    columns = st.lists(st.lists(cells, min_size=4, max_size=4), min_size=5, max_size=5)
    return st.tuples(st.just(form), st.sampled_from(sorted(PACKINGS)), columns)


imports = (st.none() | forms).flatmap(_texts_for)


# --- all of them
# -------------------------------------------------------------------------------------------------


def made_up_tables(folder: Path, count: int, first_seed: int) -> tuple[Counter[str], int]:
    """Try `count` tables, half of them through each door.

    Returns:
        How many were taken and refused, and through how many of the two doors one went wrong: it is
            shown.
    """
    counted: Counter[str] = Counter()
    work, failures = Progress("tables", count, None), 0
    for sort, trial in ((cases, predicted), (imports, imported)):
        try:
            explore(sort, partial(trial, folder / "tables", counted), count // 2, first_seed, work)
        except Exception:
            failures += 1
            print(f"wrong: {traceback.format_exc()}", flush=True)
    work.close()
    return counted, failures
