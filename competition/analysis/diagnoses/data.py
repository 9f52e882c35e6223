"""Rules on the data and what scores over them can say: few queries, lists that cannot move, unlike folds or splits."""

import math
from collections.abc import Iterator

from competition.analysis.diagnoses.facts import OUT_OF_FOLD, TEST, Facts
from competition.analysis.diagnoses.rule import Finding, Rule
from competition.core.errors import pluralize
from competition.scoring.evaluation import MOVABLE
from competition.scoring.intervals import SMALL_SAMPLE, Estimate

FEW_ROWS = 50  # of a label: from fewer, little can be learned of it
_UNEVEN = 1.5  # rows of the largest fold by those of the smallest
_SHIFT = 0.1  # share of rows that would have to change their locale
_DEPTH = 2.0  # median rows per query, in one split by the other


def _too_few_queries(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        lines = facts.leading(task)
        if lines and lines[0].queries < SMALL_SAMPLE:
            unit = ("row", "rows") if lines[0].unit == "row" else ("query", "queries")
            count = pluralize(lines[0].queries, *unit)
            sentence = f"Runs are compared over {count}: too few to tell them apart."
            yield Finding(
                task, sentence, "Judge more queries before you choose between runs by score."
            )


def _lists_cannot_move(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        by_group = {
            line.group: line.queries
            for line in facts.lines
            if (line.task, line.split) == (task, OUT_OF_FOLD)
        }
        every, movable = by_group.get("all", 0), by_group.get(MOVABLE)
        if movable is not None and movable < every / 2:
            sentence = (
                f"{every - movable:,} of {every:,} lists score the same in any order: all their "
                "products have one label."
            )
            action = (
                f"Read the score over the {movable:,} queries that can move; the score over all "
                "lists hides differences."
            )
            yield Finding(task, sentence, action)


def _rare_label(facts: Facts) -> Iterator[Finding]:
    for task, counts in facts.tallies.get("labels", {}).items():
        total = sum(counts.values())
        rare = {word: rows for word, rows in counts.items() if rows < FEW_ROWS}
        if rare:
            names = " and ".join(
                f"{word!r} has {pluralize(rows, 'row')}" for word, rows in rare.items()
            )
            sentence = f"The label {names} of {total:,}: too few to learn it from."
            yield Finding(task, sentence, "Judge more rows of it, or merge it with another label.")


def _no_labels(facts: Facts) -> Iterator[Finding]:
    scored = {line.task for line in facts.lines}
    for task in facts.tasks if facts.lines else ():
        if task not in scored:
            sentence = "No row has a label, so no run has a score."
            yield Finding(task, sentence, "Import rows with labels of this task.")


def _folds_uneven(facts: Facts) -> Iterator[Finding]:
    for scheme, rows in facts.tallies.get("folds", {}).items():
        if max(rows) > _UNEVEN * max(min(rows), 1):
            sentence = f"The folds of {scheme!r} have between {min(rows):,} and {max(rows):,} rows."
            action = "Long lists or equal queries share a fold; more queries make folds even."
            yield Finding("", sentence, action)


def _test_unlike_training(facts: Facts) -> Iterator[Finding]:
    rows = facts.tallies.get("rows", {})
    queries = [rows[split]["queries"] for split in ("train", "test") if split in rows]
    # Few queries differ by chance.
    if len(queries) < 2 or min(queries) < SMALL_SAMPLE:
        return

    train, test = (_shares(rows[split]["locales"]) for split in ("train", "test"))
    differences = {name: test.get(name, 0.0) - train.get(name, 0.0) for name in {*train, *test}}
    if sum(map(abs, differences.values())) / 2 > _SHIFT:
        name = max(differences, key=lambda each: abs(differences[each]))
        sentence = (
            f"The locale {name!r} has {train.get(name, 0.0):.0%} of the training rows and "
            f"{test.get(name, 0.0):.0%} of the test rows."
        )
        yield Finding("", sentence, "Read the scores by locale in `comp report`.")

    depths = rows["train"]["depth"], rows["test"]["depth"]
    if max(depths) > _DEPTH * min(depths):
        sentence = (
            f"A query has {depths[0]:g} rows in training and {depths[1]:g} in the test rows "
            "(medians)."
        )
        yield Finding("", sentence, "Read the scores by number of products in `comp report`.")


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _test_disagrees(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        test = facts.line(task, line.run, TEST)
        if test is None or line.split == TEST or test.group != line.group:
            continue
        error = math.hypot(_error(line.score), _error(test.score))
        difference = test.score.value - line.score.value
        if math.isfinite(error) and abs(difference) > 1.96 * error:
            sentence = (
                f"{line.run} scores {line.score} out-of-fold and {test.score} on labelled test "
                f"rows, {line.metric}."
            )
            action = (
                "Check that train and test rows were judged and sampled alike; trust the test rows."
            )
            yield Finding(task, sentence, action)


def _error(score: Estimate) -> float:
    """Return the standard error behind a 95 % interval; NaN where there is none."""
    return (score.high - score.low) / (2 * 1.96)


def _public_disagrees(facts: Facts) -> Iterator[Finding]:
    for line in facts.public:
        if line["task"] not in facts.tasks or not line.get("low"):
            continue
        try:
            public, low, high = (_number(line.get(name)) for name in ("public", "low", "high"))
            # A leaderboard may hold lists of full depth alone.
            deep = [_number(line["full_depth"])] if line.get("full_depth") else []
        except ValueError:
            # `comp leaderboard` says which cell is no number.
            continue
        if not min([low, *deep]) <= public <= max([high, *deep]):
            sentence = (
                f"The public score {public:.4f} of {line.get('run')} is outside of its out-of-fold "
                f"interval, [{low:.4f}, {high:.4f}]."
            )
            yield Finding(line["task"], sentence, "Check the folds and the file with `comp check`.")


def _number(text: str | None) -> float:
    """Return a score, with whatever mark a spreadsheet wrote; raises ValueError where it is none."""
    return float((text or "").replace(",", "."))


_QUERIES = f"Queries of the group by which runs are compared, fewer than {SMALL_SAMPLE}."
_LISTS = "Queries of the ranking whose products differ in gain, beside all."
_SHARES = f"Shares of locales differ by more than {_SHIFT:.0%} in all, or the median depth by a factor of {_DEPTH:g}."
_FOLDS = f"Rows of the largest fold by those of the smallest, above {_UNEVEN:g}."
_TWO_SCORES = "The difference of two independent scores, beyond 1.96 standard errors."

RULES = (
    Rule("too-few-queries", "caution", _QUERIES, _too_few_queries),
    Rule("no-labels", "caution", "Rows of the task with a label.", _no_labels),
    Rule("test-disagrees", "caution", _TWO_SCORES, _test_disagrees),
    Rule("public-disagrees", "caution", "The newest recorded public score of the submission.", _public_disagrees),
    Rule("test-unlike-training", "caution", _SHARES, _test_unlike_training),
    Rule("folds-uneven", "caution", _FOLDS, _folds_uneven),
    Rule("rare-label", "caution", f"Labelled training rows by label, fewer than {FEW_ROWS}.", _rare_label),
    Rule("lists-cannot-move", "note", _LISTS, _lists_cannot_move),
)  # fmt: skip
