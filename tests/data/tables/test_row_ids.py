"""Ids that files have, and ids that are made."""

from pathlib import Path

from tests.data.tables.made import ROWS, contest, read, saved


def test_ids_do_not_depend_on_other_rows(tmp_path: Path) -> None:
    whole, _ = read(tmp_path, contest(), rows_csv=ROWS)
    part, _ = read(tmp_path, contest(), rows_csv="\n".join(ROWS.splitlines()[:3]))
    columns = ["example_id", "query_id", "product_id"]
    assert part[columns].iloc[0].tolist() == whole[columns].iloc[0].tolist()


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
