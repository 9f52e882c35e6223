"""Definitions are read into contests, and what is wrong in one is named."""

from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.scoring.contest import Found
from competition.scoring.definition import built_in_names, load_contest

SMALL = """
fields = ["title", "text"]
[labels]
{labels}
[tasks.{task}]
kind = "{kind}"
metric = "{metric}"
{more}
"""


def write(folder: Path, labels: str = "levels = [1, 2, 3]", kind: str = "rank", more: str = "",
          metric: str = "ndcg", task: str = "main", before: str = "") -> Path:  # fmt: skip
    """Write a definition."""
    path = folder / "mine.toml"
    text = SMALL.format(labels=labels, kind=kind, more=more, metric=metric, task=task)
    path.write_text(before + text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_contest(str(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}")


def test_definitions_of_the_package_are_short_and_can_be_read() -> None:
    assert built_in_names() == ["binary", "esci", "ratings"]
    for name in built_in_names():
        assert load_contest(name).name == name
        assert load_contest(name).description


def test_a_file_is_found_from_the_workspace(tmp_path: Path) -> None:
    write(tmp_path)
    assert load_contest("mine.toml", tmp_path).labels.names == ("1", "2", "3")
    with pytest.raises(InputError, match=r"There is no competition 'ecsi' \(did you mean 'esci'"):
        load_contest("ecsi", tmp_path)
    with pytest.raises(InputError, match=r"The definition .*other.toml is missing"):
        load_contest("other.toml", tmp_path)
    with pytest.raises(InputError, match=r"is a folder: name the definition in it"):
        load_contest(str(tmp_path))


def test_gains_are_linear_exponential_or_a_table(tmp_path: Path) -> None:
    def gains(labels: str) -> tuple[float, ...]:
        return load_contest(str(write(tmp_path, labels))).labels.gains["paper"]

    assert gains("levels = [0, 1, 4]") == (0, 1 / 4, 1)
    assert gains('levels = [0, 1, 2]\ngains = "exponential"') == (0, 1 / 3, 1)
    assert gains('names = ["bad", "good"]\ngains = { bad = 0, good = 5 }') == (0, 1)
    assert gains('names = ["bad", "fair", "good"]\nordered = true') == (0, 1 / 2, 1)
    # Only the differences of levels below 0 count.
    assert gains("levels = [-1, 0, 1]") == (0, 1 / 2, 1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"labels": 'names = ["a", "b"]'}, "a ranking needs to know what each label is worth"),
        ({"labels": 'names = ["a", "b"]\ngains = { a = 1 }'}, "'b' is missing"),
        ({"labels": 'names = ["a", "b"]\ngains = { a = 1, b = 0, c = 2 }'}, "'c' is unknown"),
        ({"labels": 'names = ["a", "b"]\ngains = { a = -1, b = 0 }'}, "must be 0 or more"),
        ({"labels": "levels = [1]"}, "levels must be two or more"),
        ({"labels": "range = [3, 1]"}, "range is the lowest and the highest number"),
        ({"labels": 'levels = [0, 1]\nnames = ["a", "b"]'}, "of names and levels there can be one"),
        ({"labels": 'names = ["a", "b"]', "kind": "rate"}, "labels have no numbers to rate by"),
        ({"labels": "range = [1, 3]", "kind": "classify"}, "labels are numbers of a range"),
        ({"kind": "classify", "more": 'positive = "4"'}, "positive = '4' is not a label"),
        ({"kind": "classify", "more": 'words = ["x"]'}, "words must be 3"),
        ({"more": 'positive = "1"'}, "positive and words are for tasks that classify"),
        ({"more": 'answer = ["a", "b"]'}, "must be the columns that name a row"),
        ({"task": "label"}, "'label' cannot be the name of a field or task"),
        ({"task": "copies"}, "'copies' cannot be the name of a field or task"),
        ({"before": 'categories = ["x"]\n'}, "the category 'x' is not one of the fields"),
        ({"before": "[columns]\nquary = 'q'\n"}, "the key 'fields' is missing"),
        ({"before": "[task.x]\n"}, "unknown key 'task' (did you mean 'tasks'?)"),
        (
            {"before": "files = 'train.csv'\n"},
            "files = 'train.csv' does not fit: it must be a table",
        ),
        ({"more": "answer = 'id'"}, "answer = 'id' does not fit: it must be a list in brackets"),
        ({"before": "files = { delimiter = ';;' }\n"}, "files.delimiter = ';;' does not fit"),
        ({"before": "color = 1\n"}, "unknown key 'color'"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, keys: dict[str, str], message: str) -> None:
    assert message in refusal(write(tmp_path, **keys))


def test_a_column_that_is_none_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, before="")
    path.write_text(path.read_text() + "[columns]\ntitel = 'name'\n")
    assert "columns has the unknown key 'titel' (did you mean 'title'?)" in refusal(path)


def test_an_answer_file_is_an_order_or_has_a_column_of_the_answer(tmp_path: Path) -> None:
    order = load_contest(str(write(tmp_path, more='answer = ["query", "product_id"]')))
    assert order.tasks["main"].answers == ()
    assert order.tasks["main"].keys == ("query", "product_id")

    path = write(tmp_path, more='answer = ["Id", "relevance"]')
    path.write_text(path.read_text() + '[columns]\nid = "Id"\n')
    scored = load_contest(str(path)).tasks["main"]
    assert (scored.keys, scored.header, scored.answers) == (
        ("id",),
        ("Id", "relevance"),
        ("relevance",),
    )


def test_what_a_definition_leaves_open_comes_from_the_data() -> None:
    contest = load_contest("ratings")
    graded = contest.completed(Found(("0", "1.0", "3", "2"), fields=("title", "brand")))
    assert graded.labels.names == ("0", "1", "2", "3")
    assert graded.fields == ("title", "brand")
    assert graded.categories == ("brand",)
    assert graded.field_orders == {"declared": ("title", "brand")}

    # More distinct numbers than classes can be are a range.
    many = contest.completed(Found(tuple(str(n / 3) for n in range(30)), fields=("title",)))
    assert (many.labels.lowest, many.labels.highest) == (0, 29 / 3)
    assert "classes" not in many.kinds
    assert many.default_kind == "rating"


def test_locales_may_be_those_of_the_rows(tmp_path: Path) -> None:
    contest = load_contest(str(write(tmp_path, before="locales = true\n")))
    found = contest.completed(Found(locales=("de", "fr"), fields=("title", "text")))
    assert found.locale_names == ("de", "fr")
    assert contest.locale_names == ("",)
