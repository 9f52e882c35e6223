"""Answer files: what is written can be read, graded and checked; what a leaderboard would refuse is refused here."""

import math
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import CompError
from competition.core.workspace import Workspace
from competition.data import store
from competition.scoring.evaluation import estimate_metrics
from competition.scoring.submissions import check_answer, grade, make_answer, read_answer, to_csv
from tests.conftest import comp, make_workspace, refused
from tests.esci import CONTEST, GAINS, KINDS, LABELS, TASKS


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with data and nothing else."""
    return make_workspace(tmp_path_factory.mktemp("submissions") / "w")


@pytest.fixture(scope="module")
def examples(workspace: Workspace) -> pd.DataFrame:
    """Its examples."""
    return store.load_examples(workspace)


def perfect(examples: pd.DataFrame) -> pd.DataFrame:
    """Outputs of a 4-class run that is always right and certain."""
    one_hot = pd.DataFrame(
        {f"p_{label}": (examples["label"] == label).astype(float) for label in LABELS}
    )
    return one_hot.assign(example_id=examples["example_id"], p_not=0.0)[
        ["example_id", *KINDS["classes"].outputs]
    ]


def perfect_answer(task: str, examples: pd.DataFrame) -> pd.DataFrame:
    return make_answer(TASKS[task], KINDS["classes"], perfect(examples), examples)


def small(labels: str, queries: str, **columns: object) -> pd.DataFrame:
    """Test rows by hand: a label letter and a query digit per row (`?` is not judged), product_ids from a on."""
    words = {"E": "exact", "S": "substitute", "C": "complement", "I": "irrelevant", "?": None}
    label = pd.Series([words[letter] for letter in labels], dtype="str")
    frame = {
        "example_id": np.arange(10, 10 + len(labels)),
        "query_id": [int(digit) for digit in queries],
        "query": [f"query {digit}" for digit in queries],
        "locale": "us",
        "product_id": list("abcdefghij")[: len(labels)],
        "label": label,
        "substitute": (label == "substitute").astype("boolean").mask(label.isna()),
        "split": "test",
        **dict.fromkeys(TASKS, True),
    }
    return pd.DataFrame(frame | columns)


def save_small(folder: Path, test: pd.DataFrame) -> Workspace:
    """A workspace with these test rows and one training row."""
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text("", encoding="utf-8")
    workspace = Workspace.open(folder)
    train = small("E", "0").assign(split="train", example_id=1, product_id="z")
    rows = pd.concat([train, test])
    products = rows[["locale", "product_id"]].drop_duplicates()
    for field in ("title", "brand", "color", "bullets", "description"):
        products[field] = "text"
    store.save(workspace, CONTEST, rows, products, "by hand")
    return workspace


def read(task: str, text: str) -> pd.DataFrame:
    return read_answer(StringIO(text), f"{task}.csv", TASKS[task])


def score(task: str, text: str, examples: pd.DataFrame, protocol: str = "paper") -> float:
    """The task's metric over all queries."""
    counts = grade(read(task, text), TASKS[task], examples, protocol)
    return next(iter(estimate_metrics(counts, ("all",)).values()))["all"].value


# --- writing
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_file_scores_one(
    task: str, workspace: Workspace, examples: pd.DataFrame, tmp_path: Path
) -> None:
    text = to_csv(perfect_answer(task, examples))
    assert score(task, text, examples) == 1.0
    (tmp_path / "perfect.csv").write_text(text, encoding="utf-8")
    assert (
        comp("check", tmp_path / "perfect.csv", "--task", task, "-w", workspace.root).exit_code == 0
    )
    result = comp("score", tmp_path / "perfect.csv", "--task", task, "-w", workspace.root)
    assert result.exit_code == 0
    assert "1.000000" in result.output


@pytest.mark.parametrize("task", TASKS)
def test_an_answer_is_written_and_read_back(task: str, examples: pd.DataFrame) -> None:
    answer = perfect_answer(task, examples)
    text = to_csv(answer)
    assert text.splitlines()[0] == ",".join(TASKS[task].header)
    assert text.endswith("\n")
    assert "\r" not in text
    pd.testing.assert_frame_equal(read(task, text), answer, check_dtype=False)
    assert to_csv(read(task, text)) == text


def test_best_first_and_ties_by_product_id() -> None:
    examples = small("EEEEE", "21122")
    outputs = pd.DataFrame({"example_id": [14, 13, 12, 11, 10], "gain": [0.5, 0.9, 0.7, 0.2, 0.5]})
    answer = make_answer(TASKS["task1"], KINDS["gain"], outputs, examples)
    # Query 1: b 0.2, c 0.7. Query 2: a 0.5, d 0.9, e 0.5.
    assert answer.to_numpy().tolist() == [[1, "c"], [1, "b"], [2, "d"], [2, "a"], [2, "e"]]


def test_classes_are_ranked_by_expected_gain() -> None:
    examples = small("EE", "11")
    # 0.3 exact and 0.7 irrelevant gains 0.3; certainly a substitute gains 0.1.
    outputs = pd.DataFrame([[10, 0.0, 1.0, 0.0, 0.0], [11, 0.3, 0.0, 0.0, 0.7]])
    outputs.columns = ["example_id", *KINDS["classes"].outputs]
    assert make_answer(TASKS["task1"], KINDS["classes"], outputs, examples)[
        "product_id"
    ].tolist() == [
        "b",
        "a",
    ]
    assert make_answer(TASKS["task2"], KINDS["classes"], outputs, examples)[
        "esci_label"
    ].tolist() == [
        "substitute",
        "irrelevant",
    ]
    assert make_answer(TASKS["task3"], KINDS["classes"], outputs, examples)[
        "substitute_label"
    ].tolist() == [
        "substitute",
        "no_substitute",
    ]


def test_only_the_test_rows_of_the_task_are_answered() -> None:
    examples = small(
        "ESCI", "1111", split=["test", "train", "test", "test"], task1=[True, True, False, True]
    )
    outputs = pd.DataFrame({"example_id": [10, 12, 13], "gain": [1.0, 2.0, 3.0]})
    assert make_answer(TASKS["task1"], KINDS["gain"], outputs, examples)["product_id"].tolist() == [
        "d",
        "a",
    ]


def test_ids_are_written_verbatim() -> None:
    examples = small("EES", "111", product_id=["007", "nan", 'a,"b'])
    outputs = pd.DataFrame({"example_id": [10, 11, 12], "gain": [3.0, 2.0, 1.0]})
    text = to_csv(make_answer(TASKS["task1"], KINDS["gain"], outputs, examples))
    assert text == 'query_id,product_id\n1,007\n1,nan\n1,"a,""b"\n'
    assert read("task1", text)["product_id"].tolist() == ["007", "nan", 'a,"b']


@pytest.mark.parametrize("number", [0, 10**18, 2**63 - 1])
def test_any_id_that_the_data_may_have_can_be_answered(number: int) -> None:
    examples = small("ES", "12", example_id=[number, 5])
    text = f"example_id,esci_label\n{number},exact\n5,exact\n"
    answer = read("task2", text)
    check_answer(answer, "task2.csv", TASKS["task2"], examples)
    assert answer["example_id"].tolist() == [number, 5]


# --- checking
# ----------------------------------------------------------------------------------------------------

# Queries 1 (a, b) and 2 (c).
VALID = {
    "task1": "query_id,product_id\n1,b\n1,a\n2,c\n",
    "task2": "example_id,esci_label\n10,exact\n11,substitute\n12,irrelevant\n",
    "task3": "example_id,substitute_label\n10,no_substitute\n11,substitute\n12,no_substitute\n",
}
WRONG: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "task1 lacks a row": (
        "task1",
        "1,a\n",
        "",
        ("of 3 test rows, 1 is", "query_id 1, product_id 'a'"),
    ),
    "task1 lacks a query": (
        "task1",
        "2,c\n",
        "",
        ("of 3 test rows, 1 is", "query_id 2, product_id 'c'"),
    ),
    "task2 lacks a row": (
        "task2",
        "11,substitute\n",
        "",
        ("of 3 test rows, 1 is", "example_id 11"),
    ),
    "task3 lacks a row": (
        "task3",
        "12,no_substitute\n",
        "",
        ("of 3 test rows, 1 is", "example_id 12"),
    ),
    "nothing but a header": (
        "task2",
        "10,exact\n11,substitute\n12,irrelevant\n",
        "",
        ("of 3 test rows, 3 are", "example_id 10"),
    ),
    "an extra row": (
        "task2",
        "11,",
        "99,exact\n11,",
        ("row 2 ", "99", "not among the test rows of task2"),
    ),
    "a product of another query": (
        "task1",
        "2,c",
        "2,a",
        ("row 3 ", "'a'", "not among the test rows of task1"),
    ),
    "a training row": ("task2", "12,", "1,", ("row 3 ", "1", "not among the test rows")),
    "a row twice": ("task1", "1,a\n", "1,b\n", ("row 2 ", "'b'", "repeats")),
    "an example twice": ("task3", "12,", "11,", ("row 3 ", "11", "repeats")),
    "a missing column": (
        "task2",
        "esci_label",
        "label",
        ("example_id, esci_label", "found example_id, label"),
    ),
    "an extra column": (
        "task1",
        "query_id,product_id\n1,b",
        "query_id,product_id,score\n1,b,9",
        ("found", "score"),
    ),
    "a column twice": ("task3", "example_id,sub", "example_id,example_id,sub", ("twice",)),
    "another task's column": (
        "task3",
        "substitute_label",
        "esci_label",
        ("found example_id, esci_label",),
    ),
    "no header": (
        "task2",
        "example_id,esci_label\n",
        "",
        ("the columns must be", "found 10, exact"),
    ),
    "another separator": (
        "task2",
        "example_id,esci_label",
        "example_id;esci_label",
        ("separated by ';'",),
    ),
    "another case": (
        "task2",
        "esci_label",
        "ESCI_label",
        ("'ESCI_label' is to be written 'esci_label'",),
    ),
    "an unknown label": (
        "task2",
        "irrelevant",
        "unrelated",
        ("row 3 ", "'unrelated'", "exact, substitute"),
    ),
    "a capital letter": ("task2", "exact", "Exact", ("row 1 ", "'Exact'")),
    "a label of another task": (
        "task3",
        "11,substitute",
        "11,exact",
        ("row 2 ", "'exact'", "no_substitute"),
    ),
    "a blank label": ("task2", "11,substitute", "11,", ("row 2 ", "blank esci_label")),
    "a blank id": ("task2", "11,substitute", ",substitute", ("row 2 ", "blank example_id")),
    "white space": ("task1", "1,a", "1, ", ("row 2 ", "blank product_id")),
    "a blank line": ("task2", "11,", "\n11,", ("row 2 ", "blank")),
    "an id that is a word": ("task2", "11,", "x11,", ("row 2 ", "'x11'", "not an integer")),
    "an id with a point": ("task1", "2,c", "2.0,c", ("row 3 ", "'2.0'", "not an integer")),
    "a cell too many": ("task2", "11,substitute", "11,substitute,9", ("line 3",)),
    "a cell too few": ("task2", "11,substitute", "11", ("fewer cells in line 3 ", "row 2 ")),
}


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the test rows of VALID."""
    return save_small(tmp_path_factory.mktemp("by-hand") / "w", small("ESI", "112"))


@pytest.mark.parametrize("task", TASKS)
def test_valid_files_are_valid(task: str, by_hand: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "answer.csv"
    file.write_text(VALID[task], encoding="utf-8")
    result = comp("check", file, "--task", task, "-w", by_hand.root)
    assert result.exit_code == 0
    assert "valid" in result.output


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", ["check", "score"])
def test_wrong_files_are_refused(
    command: str, wrong: str, by_hand: Workspace, tmp_path: Path
) -> None:
    task, old, new, words = WRONG[wrong]
    assert old in VALID[task]
    file = tmp_path / "answer.csv"
    file.write_text(VALID[task].replace(old, new, 1), encoding="utf-8")
    sentence = refused(command, file, "--task", task, "-w", by_hand.root)
    for word in ("answer.csv", *words):
        assert word in sentence, sentence


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ("is empty",)),
        ("query_id,product_id\n1,caf\u00e9\n".encode("latin-1"), ("UTF-8",)),
        (VALID["task1"].encode("utf-16"), ("UTF-8",)),
        (b'query_id,product_id\n1,"b\n1,a\n2,c\n', ("readable",)),
    ],
    ids=["empty", "latin-1", "utf-16", "an open quotation mark"],
)
def test_files_that_cannot_be_read_are_refused(
    data: bytes, words: tuple[str, ...], by_hand: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "answer.csv"
    file.write_bytes(data)
    sentence = refused("check", file, "--task", "task1", "-w", by_hand.root)
    for word in ("answer.csv", *words):
        assert word in sentence, sentence


def test_a_missing_file_is_refused(by_hand: Workspace, tmp_path: Path) -> None:
    sentence = refused("check", tmp_path / "nowhere.csv", "--task", "task1", "-w", by_hand.root)
    assert "nowhere.csv is missing" in sentence


def test_rows_with_a_cell_more_than_the_header_are_refused(
    by_hand: Workspace, tmp_path: Path
) -> None:
    header, *rows = VALID["task2"].splitlines()
    file = tmp_path / "answer.csv"
    file.write_text(
        "\n".join([header, *(f"{i},{row}" for i, row in enumerate(rows))]) + "\n", encoding="utf-8"
    )
    assert "answer.csv" in refused("check", file, "--task", "task2", "-w", by_hand.root)


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_columns_is_free(task: str) -> None:
    flipped = "\n".join(",".join(line.split(",")[::-1]) for line in VALID[task].splitlines())
    pd.testing.assert_frame_equal(read(task, flipped), read(task, VALID[task]))


def test_windows_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = tmp_path / "answer.csv"
    file.write_bytes(b"\xef\xbb\xbf" + VALID["task2"].replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(
        read_answer(file, file.name, TASKS["task2"]), read("task2", VALID["task2"])
    )


def test_a_file_that_never_predicts_some_class_is_valid(by_hand: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "answer.csv"
    for task, label in (
        ("task2", "exact"),
        ("task2", "irrelevant"),
        ("task3", "no_substitute"),
        ("task3", "substitute"),
    ):
        (column,) = TASKS[task].answers
        file.write_text(
            f"example_id,{column}\n" + "".join(f"{i},{label}\n" for i in (10, 11, 12)),
            encoding="utf-8",
        )
        assert comp("check", file, "--task", task, "-w", by_hand.root).exit_code == 0
        assert comp("score", file, "--task", task, "-w", by_hand.root).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "--task", "taks1"), ("'taks1'", "did you mean 'task1'", "task1, task2, task3")),
        (("score", "--task", "task11"), ("'task11'", "did you mean 'task1'")),
        (
            ("score", "--task", "task1", "--protocol", "papper"),
            ("'papper'", "did you mean 'paper'"),
        ),
        (
            ("score", "--task", "task1", "--protocol", "official"),
            ("'official'", "did you mean 'official_script'"),
        ),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(
    arguments: tuple[str, ...], words: tuple[str, ...], by_hand: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "answer.csv"
    file.write_text(VALID["task1"], encoding="utf-8")
    sentence = refused(arguments[0], file, *arguments[1:], "-w", by_hand.root)
    for word in words:
        assert word in sentence


# --- grading
# -----------------------------------------------------------------------------------------------------


def discounted(*gains: float) -> float:
    """Gains in the order of the list, each divided by log2(rank + 1)."""
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


@pytest.mark.parametrize("protocol", GAINS)
def test_a_ranking_by_hand(protocol: str) -> None:
    s, c = {"paper": (0.1, 0.01), "official_script": (0.01, 0.1)}[protocol]
    examples = small("ESCISE", "111122")
    text = "query_id,product_id\n2,e\n1,b\n2,f\n1,c\n1,a\n1,d\n"
    ideal = discounted(1.0, max(s, c), min(s, c), 0.0)
    expected = discounted(s, c, 1.0, 0.0) / ideal + discounted(s, 1.0) / discounted(1.0, s)
    assert score("task1", text, examples, protocol) == pytest.approx(expected / 2)


def test_the_released_script_scores_a_query_without_gain_zero() -> None:
    examples = small("EIII", "1122")
    text = "query_id,product_id\n1,a\n1,b\n2,c\n2,d\n"
    assert score("task1", text, examples) == 1.0
    assert grade(read("task1", text), TASKS["task1"], examples).ungraded == 1
    assert score("task1", text, examples, "official_script") == pytest.approx((1.0 + 0.0) / 2)


def test_products_without_a_judgement_are_dropped_before_ranking() -> None:
    judged = small("SE", "11")
    with_more = small("SE??", "1112")
    text = "query_id,product_id\n1,a\n1,b\n"
    longer = "query_id,product_id\n1,c\n1,a\n2,d\n1,b\n"
    assert score("task1", longer, with_more) == score("task1", text, judged)


def test_a_missing_product_adds_no_gain_and_a_missing_query_scores_zero(tmp_path: Path) -> None:
    examples = small("ESCE", "1112")
    text = "query_id,product_id\n1,c\n1,b\n"  # lacks the exact product of query 1, and query 2
    expected = (discounted(0.01, 0.1) / discounted(1.0, 0.1, 0.01) + 0.0) / 2
    assert score("task1", text, examples) == pytest.approx(expected)

    root = save_small(tmp_path / "w", examples).root
    (tmp_path / "part.csv").write_text(text, encoding="utf-8")
    arguments = ("score", tmp_path / "part.csv", "--task", "task1", "-w", root)
    assert "of 4 test rows, 2 are missing" in refused(*arguments)
    result = comp(*arguments, "--allow-missing")
    assert result.exit_code == 0
    assert f"{expected:.6f}" in result.output


def test_an_empty_list_scores_zero() -> None:
    assert score("task1", "query_id,product_id\n", small("ES", "12")) == 0.0
    assert score("task2", "example_id,esci_label\n", small("ES", "12")) == 0.0


def test_a_missing_label_is_a_wrong_one() -> None:
    examples = small("ESIE", "1122")
    text = "example_id,esci_label\n10,exact\n11,substitute\n12,irrelevant\n"
    assert score("task2", text, examples) == pytest.approx(3 / 4)


def test_allow_missing_allows_nothing_else(by_hand: Workspace, tmp_path: Path) -> None:
    (tmp_path / "part.csv").write_text("query_id,product_id\n1,b\n1,b\n", encoding="utf-8")
    arguments = (
        "score",
        tmp_path / "part.csv",
        "--task",
        "task1",
        "--allow-missing",
        "-w",
        by_hand.root,
    )
    assert "row 2 " in refused(*arguments)


def test_labels_by_hand() -> None:
    examples = small("EESI", "1122")
    text = "example_id,esci_label\n10,exact\n11,irrelevant\n12,substitute\n13,irrelevant\n"
    assert score("task2", text, examples) == pytest.approx(3 / 4)
    # exact: 1 right of 1 said and 2 true; irrelevant: 1 right of 2 said and 1 true; substitute: 1
    # of 1 and 1.
    macro = estimate_metrics(grade(read("task2", text), TASKS["task2"], examples))["macro-F1"][
        "all"
    ].value
    assert macro == pytest.approx((2 * 1 / (1 + 2) + 2 * 1 / (2 + 1) + 2 * 1 / (1 + 1)) / 3)


@pytest.mark.parametrize("task", ["task2", "task3"])
def test_the_order_of_rows_is_no_answer_in_classification(
    task: str, examples: pd.DataFrame
) -> None:
    test = examples[examples["split"] == "test"]
    rng = np.random.default_rng(0)
    answer = pd.DataFrame(
        {
            "example_id": test["example_id"],
            TASKS[task].answers[0]: rng.choice(TASKS[task].classes, len(test)),
        }
    )
    straight = estimate_metrics(grade(answer, TASKS[task], examples))
    for seed in range(3):
        assert (
            estimate_metrics(grade(answer.sample(frac=1, random_state=seed), TASKS[task], examples))
            == straight
        )


def test_the_order_of_queries_is_no_answer_in_ranking(examples: pd.DataFrame) -> None:
    answer = make_answer(TASKS["task1"], KINDS["classes"], perfect(examples), examples)
    other = answer.iloc[::-1].sort_values("query_id", kind="stable")
    moved = pd.concat(
        [
            rows
            for _, rows in sorted(other.groupby("query_id"), reverse=True, key=lambda pair: pair[0])
        ]
    )
    assert estimate_metrics(grade(moved, TASKS["task1"], examples)) == estimate_metrics(
        grade(other, TASKS["task1"], examples)
    )
    assert estimate_metrics(grade(other, TASKS["task1"], examples)) != estimate_metrics(
        grade(answer, TASKS["task1"], examples)
    )


@pytest.mark.parametrize("task", TASKS)
def test_rows_without_labels_cannot_be_graded(task: str, tmp_path: Path) -> None:
    root = save_small(tmp_path / "w", small("???", "112")).root
    file = tmp_path / "answer.csv"
    file.write_text(VALID[task], encoding="utf-8")
    assert comp("check", file, "--task", task, "-w", root).exit_code == 0
    assert f"test rows of {task} have no labels" in refused(
        "score", file, "--task", task, "-w", root
    )


def test_an_output_that_is_missing_is_no_answer() -> None:
    examples = small("ES", "11")
    with pytest.raises((CompError, ValueError)):
        make_answer(TASKS["task2"], KINDS["classes"], perfect(examples).head(1), examples)
