"""Files of a contest of the user's own, with all the ways in which their ids, columns and labels are written."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.data import folds, store, tables
from competition.scoring.contest import Contest, Found
from competition.scoring.definition import Definition, build_contest

TASKS = {"ranking": {"kind": "rank", "metric": "ndcg", "answer": ["query", "product_id"]}}
ROWS = "query,title,label\nred cup,A red cup,3\nred cup,A blue cup,1.0\nlamp,Desk lamp,2\n"


def contest(**keys: Any) -> Contest:
    """Return the contest of a definition called `mine`, by default of title and description."""
    content = {"fields": ["title", "description"], "tasks": TASKS} | keys
    return build_contest("mine", Definition.model_validate(content), "mine.toml")


def read(
    folder: Path, of: Contest, called: dict[str, str] | None = None, **files: str | bytes
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write files, `rows_csv` as `rows.csv`, and read the only one, or the folder of several."""
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    root = path if len(files) == 1 else folder
    return tables.read(root, of, called or {})


def saved(folder: Path, of: Contest, **files: str | bytes) -> tuple[Workspace, Contest]:
    """Import files into a workspace; return it with the contest that its data complete."""
    examples, products = read(folder, of, **files)
    home = folder / "workspace"
    home.mkdir()
    (home / "competition.toml").write_text("")
    workspace = Workspace.open(home)
    store.save(workspace, of, examples, products, "test")
    return workspace, of.completed(store.load_card(workspace).found)


# --- one file is enough ---


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


def test_ids_do_not_depend_on_other_rows(tmp_path: Path) -> None:
    whole, _ = read(tmp_path, contest(), rows_csv=ROWS)
    part, _ = read(tmp_path, contest(), rows_csv="\n".join(ROWS.splitlines()[:3]))
    columns = ["example_id", "query_id", "product_id"]
    assert part[columns].iloc[0].tolist() == whole[columns].iloc[0].tolist()


def test_map_goes_before_the_definition(tmp_path: Path) -> None:
    text = "search,name,grade,title\nred cup,A red cup,3,x\nlamp,Desk lamp,1,y\n"
    of = contest(columns={"title": "title"})
    called = tables.read_map(["query=search,title=name", "label=grade"], of)
    examples, products = read(tmp_path, of, called, rows_csv=text)
    assert examples["label"].tolist() == ["3", "1"]
    assert products["title"].tolist() == ["A red cup", "Desk lamp"]


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


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"query": ["a", "b"], "title": ["x", "y"], "label": [1.0, 2.33]})
    frame.to_parquet(tmp_path / "rows.parquet")
    examples, _ = tables.read(tmp_path / "rows.parquet", contest(), {})
    assert examples["label"].tolist() == ["1", "2.33"]


# --- ids ---


def test_integer_ids_stay_and_text_ids_are_hashed(tmp_path: Path) -> None:
    numbers = "id,query_id,product_id,query,title,label\n7,3,P1,a,x,1\n-8,4,P2,b,y,2\n"
    examples, _ = read(tmp_path, contest(), rows_csv=numbers)
    assert examples["example_id"].tolist() == [7, -8]
    assert examples["query_id"].tolist() == [3, 4]
    assert examples["product_id"].tolist() == ["P1", "P2"]

    # 007 is not 7, so all of them are text.
    texts = numbers.replace("\n7,3", "\n007,q3")
    examples, _ = read(tmp_path, contest(), rows_csv=texts)
    assert examples["id"].tolist() == ["007", "-8"]
    assert examples["query_key"].tolist() == ["q3", "4"]
    assert (examples[["example_id", "query_id"]] > 0).all(axis=None)
    assert examples["example_id"].nunique() == 2


def test_rows_with_ids_of_their_own_may_repeat_a_pair(tmp_path: Path) -> None:
    text = "id,query,title,label\n9,a,x,1\n4,a,x,2\n5,b,x,1\n"
    examples, products = read(tmp_path, contest(), rows_csv=text)
    first, second, other = examples["product_id"]
    assert second == other  # the one of the lowest id keeps its product
    assert first == f"{second}~9"
    assert products.set_index("product_id")["title"].to_dict() == {first: "x", second: "x"}
    saved(tmp_path, contest(), rows_csv=text)


def test_products_in_a_file_of_their_own(tmp_path: Path) -> None:
    of = contest(
        files={
            "train": "train.csv",
            "test": "test.csv",
            "products": "text.csv",
            "encoding": "latin-1",
        },
        columns={"product_id": "uid", "query": "search_term", "label": "relevance"},
        labels={"range": [1, 3]},
        tasks={"rating": {"kind": "rate", "metric": "rmse", "answer": ["id", "label"]}},
    )
    workspace, of = saved(
        tmp_path,
        of,
        Train_csv="id,uid,title,search_term,relevance\n2,100,Stuhl,größe,2.33\n3,100,Stuhl,tür,3.00\n".encode("latin-1"),
        test_csv="id,uid,title,search_term\n1,101,Tisch,tür\n".encode("latin-1"),
        text_csv="uid,description\n101,für draußen\n100,aus Holz\n102,no row\n".encode("latin-1"),
    )  # fmt: skip
    examples = store.load_examples(workspace).set_index("example_id")
    products = store.load_products(workspace).set_index("product_id")
    assert examples.loc[[2, 3], "label"].tolist() == ["2.33", "3"]
    assert examples["split"].to_dict() == {1: "test", 2: "train", 3: "train"}
    assert examples["label"].isna().to_dict() == {1: True, 2: False, 3: False}
    assert products.loc["100", ["title", "description"]].tolist() == ["Stuhl", "aus Holz"]
    assert products.loc["101", "description"] == "für draußen"
    assert store.load_card(workspace).tasks == ("rating",)
    assert of.fields == ("title", "description")


def test_a_catalogue_in_several_files(tmp_path: Path) -> None:
    of = contest(
        files={"rows": "rows.csv", "products": ["text.csv", "more.csv", "sold.csv"]},
        fields=["title", "description", "brand", "attributes"],
    )
    examples, products = read(
        tmp_path,
        of,
        rows_csv="query,product_id,label\nred cup,1,3\nlamp,2,1\nlamp,3,1\n",
        text_csv="product_id,title,description\n1,Cup,a cup\n2,Lamp,\n",
        more_csv="product_id,brand,attributes\n2,Acme,oak\n1,,red\n2,,\n2,,40 W\n",
        sold_csv="product_id,description\n2,in the third file\n3,by no other file\n",
    )
    assert examples["product_id"].tolist() == ["1", "2", "3"]
    # The first file that has a field says it; what several rows of a further file say is joined.
    assert products.set_index("product_id")[list(of.fields)].to_dict("index") == {
        "1": {"title": "Cup", "description": "a cup", "brand": "", "attributes": "red"},
        "2": {"title": "Lamp", "description": "", "brand": "Acme", "attributes": "oak\n40 W"},
    }


def test_a_product_is_once_in_the_first_file_of_products(tmp_path: Path) -> None:
    of = contest(files={"rows": "rows.csv", "products": "text.csv"})
    rows = "query,product_id,label\nred cup,1,3\nlamp,1,2\n"
    with pytest.raises(InputError, match=r"text.csv: row 2 has the product_id '1' of an earlier"):
        read(tmp_path, of, rows_csv=rows, text_csv="product_id,title\n1,Cup\n1,Cup\n")


def test_a_column_may_say_the_split(tmp_path: Path) -> None:
    text = "query,title,label,split\na,x,1,Train\nb,y,2,training\nc,z,,test\n"
    examples, _ = read(tmp_path, contest(), rows_csv=text)
    assert examples["split"].tolist() == ["train", "train", "test"]


# --- labels and locales ---


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


def test_locales_that_are_found(tmp_path: Path) -> None:
    text = "query,title,label,locale\na,x,1,nl\nb,x,2,it\n"
    _, of = saved(tmp_path, contest(locales=True), rows_csv=text)
    assert of.locale_names == ("it", "nl")


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


# --- refusals ---


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
         r"row 2 \(query 'a'\) has the query and the product of an earlier row.*--map id=COLUMN"),
        ({}, "id,query,title,label\n1,a,x,1\n1,b,y,2\n", r"row 2 \(query 'b'\) has the id of an earlier row"),
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


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    of = contest(files={"rows": "judgments.csv"})
    with pytest.raises(InputError, match=r"lacks judgments.csv \(did you mean 'judgment.csv'"):
        read(tmp_path, of, judgment_csv=ROWS, others_csv=ROWS)
    with pytest.raises(InputError, match=r"holds 2 tables.*write rows = \"FILE\" into \[files\]"):
        tables.read(tmp_path, contest(), {})
    with pytest.raises(InputError, match="lacks the column 'grade' of --map"):
        tables.read(tmp_path / "others.csv", contest(), {"label": "grade"})
    with pytest.raises(InputError, match=r"is not utf-8, write encoding = \"latin-1\""):
        read(tmp_path, contest(), latin_csv=ROWS.replace("red", "größe").encode("latin-1"))
    with pytest.raises(InputError, match="give the folder that holds them"):
        tables.read(tmp_path / "others.csv", contest(files={"products": "p.csv"}), {})


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


def test_numbers_may_have_decimal_commas(tmp_path: Path) -> None:
    text = "query;title;label\na;x;2,67\nb;y;3\nc;z;1,0\n"
    examples, _ = read(tmp_path, contest(labels={"range": [1, 3]}), rows_csv=text)
    assert examples["label"].tolist() == ["2.67", "3", "1"]
    with pytest.raises(InputError, match="the label '2,67' of row 1 is not a number"):
        read(tmp_path, contest(labels={"range": [1, 3]}), rows_csv=text.replace("1,0", "1,0,0"))


def test_one_label_alone_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all training rows have the label '1': bring rows"):
        read(tmp_path, contest(), rows_csv="query,title,label\na,x,1\nb,y,1.0\n")


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
        tables.read_map(pairs, contest())


def test_a_comma_may_be_in_the_name_of_a_column() -> None:
    assert tables.read_map(["query=search, raw"], contest()) == {"query": "search, raw"}


# --- folds ---


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
