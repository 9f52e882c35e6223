"""Both layouts of the real files: the same rows from either, and every text as the text that it is."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from competition.data import esci, store
from competition.data.border import PRODUCT_KEY
from tests.conftest import SAMPLE_A, SAMPLE_B, comp, needs_sample
from tests.esci import CONTEST, LABEL_LETTERS, TASKS

# Everything that a reader of numbers, dates or missing values would change.
TRICKY = (
    "red shoes",
    "007",
    "12345",
    "#1 gift",
    "%off lamp",
    '"quoted" mug',
    "nan",
    "none",
    "NULL",
    "a, b",
    "1e5",
    "-",
)
FOLDERS = {
    "task1": "task_1_query-product_ranking",
    "task2": "task_2_multiclass_product_classification",
    "task3": "task_3_product_substitute_identification",
}
EXAMPLES = "shopping_queries_dataset_examples.parquet"
PRODUCTS = "shopping_queries_dataset_products.parquet"
Write = Callable[[Path, pd.DataFrame, pd.DataFrame], Path]
# What a row is, whatever layout it came in.
SHARED_COLUMNS = ["example_id", "locale", "query", "product_id", "split", *TASKS]


def tiny() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Layout A in small: 12 queries of three products each, every second one in task 1, the last three in test."""
    rows = []
    for q, text in enumerate(TRICKY):
        for p in range(3):
            row = {
                "example_id": 100 + 3 * q + p,
                "query": text,
                "query_id": q,
                "product_id": f"{3 * q + p:03d}",
            }
            row |= {"product_locale": ("us", "es", "jp")[q % 3], "esci_label": "ESCI"[(q + p) % 4]}
            rows.append(
                row
                | {
                    "small_version": 1 - q % 2,
                    "large_version": 1,
                    "split": "test" if q > 8 else "train",
                }
            )
    examples = pd.DataFrame(rows)
    products = examples[["product_id", "product_locale"]].copy()
    products["product_title"] = [
        "nan",
        "none",
        "NA",
        *(f"thing {i}" for i in range(3, len(products))),
    ]
    products["product_description"] = pd.Series([None, "<p>null</p>"] * 18, dtype="str")
    products["product_bullet_point"] = "1.50"
    products["product_brand"] = "007"
    products["product_color"] = "nan"
    return examples, products


def write_a(folder: Path, examples: pd.DataFrame, products: pd.DataFrame) -> Path:
    """The two parquet files of layout A."""
    folder.mkdir(parents=True, exist_ok=True)
    examples.to_parquet(folder / EXAMPLES, index=False)
    products.to_parquet(folder / PRODUCTS, index=False)
    return folder


def write_b(
    folder: Path,
    examples: pd.DataFrame,
    products: pd.DataFrame,
    tasks: tuple[str, ...] = tuple(TASKS),
) -> Path:
    """The same rows as the CSV files of layout B: test rows without their labels."""
    examples = examples.rename(columns={"product_locale": "query_locale"})
    examples["esci_label"] = examples["esci_label"].map(LABEL_LETTERS)
    examples["substitute_label"] = (examples["esci_label"] == "substitute").map(
        {True: "substitute", False: "no_substitute"}
    )
    catalogue = products.rename(columns={"product_color": "product_color_name"})
    for task in tasks:
        home = folder / FOLDERS[task]
        home.mkdir(parents=True, exist_ok=True)
        keys = [
            "query_id" if task == "task1" else "example_id",
            "query",
            "query_locale",
            "product_id",
        ]
        label = "substitute_label" if task == "task3" else "esci_label"
        rows = examples[examples["small_version"] == 1] if task == "task1" else examples
        train, test = (rows[rows["split"] == split] for split in ("train", "test"))
        train[[*keys, label]].to_csv(home / "train-v0.3.csv", index=False)
        test[keys].to_csv(home / "test_public-v0.3.csv", index=False)
        catalogue.to_csv(home / "product_catalogue-v0.3.csv", index=False)
    return folder


def imported(folder: Path, root: Path) -> Workspace:
    """A new workspace at `root` with the data of `folder`."""
    root.mkdir(parents=True)
    (root / "competition.toml").write_text("", encoding="utf-8")
    result = comp("data", "import", folder, "-w", root)
    assert result.exit_code == 0, result.output
    return Workspace.open(root)


def by_id(examples: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Rows in the order of their ids, with plain dtypes."""
    return examples.sort_values("example_id", ignore_index=True)[columns].astype(
        {"query": "str", "product_id": "str"}
    )


def check_same_rows(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Layout A in `one` and layout B in `other` say the same, as far as B says anything."""
    pd.testing.assert_frame_equal(
        by_id(one, SHARED_COLUMNS), by_id(other, SHARED_COLUMNS), check_dtype=False
    )
    columns = ["query", "product_id", "query_id", "label", "substitute"]
    one, other = (by_id(frame, [*columns, "task1", "split"]) for frame in (one, other))
    assert (
        one.loc[one["task1"], "query_id"].tolist() == other.loc[other["task1"], "query_id"].tolist()
    )
    train = one["split"] == "train"
    for column in ("label", "substitute"):
        assert one.loc[train, column].tolist() == other.loc[train, column].tolist()
        assert one[column].notna().all()
        assert other.loc[~train, column].isna().all()


@needs_sample
def test_both_layouts_of_the_real_rows_agree() -> None:
    (examples_a, products_a), (examples_b, products_b) = esci.read(SAMPLE_A), esci.read(SAMPLE_B)
    assert len(examples_a) == 7_092
    check_same_rows(examples_a, examples_b)
    tables = [
        store._typed_products(products, CONTEST).sort_values(PRODUCT_KEY, ignore_index=True)
        for products in (products_a, products_b)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_both_layouts_of_tricky_rows_agree(tmp_path: Path) -> None:
    examples, products = tiny()
    one = imported(write_a(tmp_path / "a", examples, products), tmp_path / "wa")
    other = imported(write_b(tmp_path / "b", examples, products), tmp_path / "wb")
    check_same_rows(store.load_examples(one), store.load_examples(other))
    pd.testing.assert_frame_equal(store.load_products(one), store.load_products(other))


@pytest.mark.parametrize("write", [write_a, write_b])
def test_text_stays_text(write: Write, tmp_path: Path) -> None:
    examples, products = tiny()
    workspace = imported(write(tmp_path / "raw", examples, products), tmp_path / "w")
    rows, catalogue = store.load_examples(workspace), store.load_products(workspace)
    assert tuple(rows["query"].unique()) == TRICKY
    assert rows["product_id"].tolist() == [f"{i:03d}" for i in range(36)]
    first = catalogue.set_index("product_id").loc[["000", "001", "002"]]
    assert first["title"].tolist() == ["nan", "none", "NA"]
    assert first["description"].tolist() == ["", "<p>null</p>", ""]
    assert set(catalogue["brand"]) == {"007"}
    assert set(catalogue["color"]) == {"nan"}
    assert set(catalogue["bullets"]) == {"1.50"}


@pytest.mark.parametrize("write", [write_a, write_b])
def test_shuffled_rows_give_the_same_bytes(write: Write, tmp_path: Path) -> None:
    examples, products = tiny()
    folders = [tmp_path / name / "raw" for name in ("straight", "shuffled")]
    write(folders[0], examples, products)
    write(
        folders[1], examples.sample(frac=1, random_state=1), products.sample(frac=1, random_state=2)
    )
    one, other = (imported(folder, folder.parent / "w") for folder in folders)
    for file in ("examples.parquet", "products.parquet", "data.json"):
        assert (one.root / "data" / file).read_bytes() == (
            other.root / "data" / file
        ).read_bytes(), file


@needs_sample
def test_shuffled_real_rows_give_the_same_bytes(tmp_path: Path) -> None:
    examples, products = esci.read(SAMPLE_A)
    written = []
    for seed in (1, 2):
        workspace = Workspace(tmp_path / str(seed))
        shuffled = (
            examples.sample(frac=1, random_state=seed),
            products.sample(frac=1, random_state=seed),
        )
        store.save(workspace, CONTEST, *shuffled, "real")
        written.append((workspace.examples.read_bytes(), workspace.products.read_bytes()))
    assert written[0] == written[1]


def test_ids_may_be_digits_in_strings(tmp_path: Path) -> None:
    examples, products = tiny()
    texts = examples.astype(
        {"example_id": "str", "query_id": "str", "small_version": "str", "large_version": "str"}
    )
    one = imported(write_a(tmp_path / "numbers" / "raw", examples, products), tmp_path / "w1")
    other = imported(write_a(tmp_path / "texts" / "raw", texts, products), tmp_path / "w2")
    assert one.examples.read_bytes() == other.examples.read_bytes()
    assert store.load_examples(other)[["example_id", "query_id"]].dtypes.astype(str).tolist() == [
        "int64",
        "int64",
    ]


def test_zipped_files_are_read_as_they_are(tmp_path: Path) -> None:
    plain = write_b(tmp_path / "plain" / "raw", *tiny())
    zipped = write_b(tmp_path / "zipped" / "raw", *tiny())
    for path in sorted(zipped.rglob("*.csv")):
        with zipfile.ZipFile(f"{path}.zip", "w") as archive:
            archive.write(path, path.name)
        path.unlink()
    one, other = imported(plain, tmp_path / "w1"), imported(zipped, tmp_path / "w2")
    assert one.examples.read_bytes() == other.examples.read_bytes()
    assert one.products.read_bytes() == other.products.read_bytes()


@pytest.mark.parametrize("newest", ["v0.4", "v0.10", "v1.0"])
def test_the_newest_version_of_a_file_is_read(newest: str, tmp_path: Path) -> None:
    folder = write_b(tmp_path / "raw", *tiny(), ("task2",)) / FOLDERS["task2"]
    (folder / "train-v0.3.csv").rename(folder / f"train-{newest}.csv")
    for older in ("v0.2", "v0.3"):
        (folder / f"train-{older}.csv").write_text("not,what,is,wanted\n", encoding="utf-8")
    examples, _ = esci.read(folder.parent)
    assert len(examples) == 36


@pytest.mark.parametrize(
    "tasks", [("task1",), ("task2",), ("task3",), ("task1", "task3"), ("task1", "task2")]
)
def test_some_of_the_task_folders_are_enough(tasks: tuple[str, ...], tmp_path: Path) -> None:
    examples, products = tiny()
    workspace = imported(write_b(tmp_path / "raw", examples, products, tasks), tmp_path / "w")
    rows = store.load_examples(workspace)
    assert len(rows) == (18 if tasks == ("task1",) else 36)
    assert {task: rows[task].any() for task in TASKS} == {task: task in tasks for task in TASKS}
    train = rows["split"] == "train"
    assert rows.loc[train, "label"].notna().any() == (tasks != ("task3",))
    assert rows.loc[train, "substitute"].notna().all()
    kept = rows.merge(examples, on=["query", "product_id"], suffixes=("", "_file"))
    if "task1" in tasks:
        of_task = kept["task1"]
        assert (kept["query_id"] == kept["query_id_file"])[of_task].all()
    if tasks != ("task1",):
        assert (kept["example_id"] == kept["example_id_file"]).all()


def test_an_id_that_no_file_brings_is_a_stable_hash(tmp_path: Path) -> None:
    examples, products = tiny()
    rows = store.load_examples(
        imported(write_b(tmp_path / "one", examples, products, ("task1",)), tmp_path / "w1")
    )
    part = write_b(
        tmp_path / "two", examples.sample(frac=1, random_state=3).iloc[:30], products, ("task1",)
    )
    others = esci.read(part)[0].set_index(["locale", "query", "product_id"])["example_id"]
    whole = rows.set_index(["locale", "query", "product_id"])["example_id"]
    assert whole.is_unique
    assert (whole > 0).all()
    assert (whole.loc[others.index] == others).all()

    folder = write_b(tmp_path / "three", examples, products, ("task2", "task3"))
    queries = esci.read(folder)[0].drop_duplicates("query").set_index("query")["query_id"]
    assert len(queries.unique()) == 12
    assert (queries > 0).all()
    # The first 63 bits of blake2b("us\0red shoes"): pinned, since a new value would orphan every
    # file made before.
    assert queries["red shoes"] == 243_748_357_897_401_451


def test_assigned_ids_differ_where_the_joined_text_is_the_same(tmp_path: Path) -> None:
    examples, products = tiny()
    examples.loc[[0, 3], "query"] = ["lamp 1", "lamp "]  # lamp 1 + 23 and lamp + 123
    examples.loc[[0, 3], "product_id"] = ["23", "123"]
    examples.loc[[0, 3], "query_id"] = [50, 51]
    examples.loc[[0, 3], "product_locale"] = "us"
    examples["small_version"] = 1
    rows = store.load_examples(
        imported(write_b(tmp_path / "raw", examples, products, ("task1",)), tmp_path / "w")
    ).set_index("query_id")
    assert rows.loc[50, "example_id"] != rows.loc[51, "example_id"]


def test_one_text_may_have_two_query_ids(tmp_path: Path) -> None:
    examples, products = tiny()
    examples.loc[examples["query_id"] == 6, ["query", "product_locale"]] = ["red shoes", "us"]
    products["product_locale"] = examples["product_locale"]
    one = imported(write_a(tmp_path / "a", examples, products), tmp_path / "wa")
    other = imported(write_b(tmp_path / "b", examples, products), tmp_path / "wb")
    for workspace in (one, other):
        rows = store.load_examples(workspace)
        assert sorted(rows.loc[rows["query"] == "red shoes", "query_id"].unique()) == [0, 6]
    check_same_rows(store.load_examples(one), store.load_examples(other))


def test_identical_catalogues_of_the_task_folders_count_once(tmp_path: Path) -> None:
    workspace = imported(write_b(tmp_path / "raw", *tiny()), tmp_path / "w")
    assert len(store.load_products(workspace)) == 36
