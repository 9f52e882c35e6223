"""Products of the rows, and of files of their own."""

from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.data import store
from tests.data.tables.made import contest, read, saved


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
