"""Rules on what runs answer: always the same, never a class, nothing of the text."""

from collections.abc import Iterator

from competition.analysis.diagnoses.facts import Facts
from competition.analysis.diagnoses.rule import Finding, Rule
from competition.core.errors import pluralize

_MIN_LABELS = 10  # rows of a label, from which a run should answer it at times


def _constant_outputs(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        if sentences := run.card.get("constant", ()):
            more = pluralize(len(sentences) - 1, "more fold")
            folds = f" (and {more})" if len(sentences) > 1 else ""
            action = "Lower its learning_rate or raise warmup in [overrides], then `comp run`."
            yield Finding("", f"{str(sentences[0]).removesuffix('.')}{folds}.", action)


def _one_answer(facts: Facts) -> Iterator[Finding]:
    for task, by_run in facts.tallies.get("answers", {}).items():
        labels = facts.tallies["labels"][task]
        if sum(rows > 0 for rows in labels.values()) < 2:
            continue

        for run, answers in by_run.items():
            given = [word for word, rows in answers.items() if rows]
            if len(given) == 1:
                rows = answers[given[0]]
                sentence = f"{run} answers {given[0]!r} for each of {rows:,} rows."
                action = (
                    "It has not learned to tell the labels apart: train it longer, or from a better "
                    "encoder."
                )
                yield Finding(task, sentence, action)


def _never_answers(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        answers = facts.tallies.get("answers", {}).get(task, {}).get(line.run, {})
        labels = facts.tallies.get("labels", {}).get(task, {})
        never = [word for word, rows in answers.items() if not rows and labels[word] >= _MIN_LABELS]

        # Where all answers are one, another rule says so.
        if never and len(answers) - len(never) > 1:
            rows = " and ".join(f"{word!r} ({labels[word]:,} rows)" for word in never)
            sentence = f"{line.run} never answers {rows}."
            action = 'thresholds = "macro-F1" in the ensemble weighs rare labels as much as others.'
            yield Finding(task, sentence, action)


_OUTPUTS = "Deviation of the held-out outputs over rows and within queries, below 0.002."
_ANSWERS = "Out-of-fold answers counted by class, beside the labels of the same rows."

RULES = (
    Rule("constant-outputs", "problem", _OUTPUTS, _constant_outputs),
    Rule("one-answer", "caution", _ANSWERS, _one_answer),
    Rule("never-answers-a-class", "caution", _ANSWERS, _never_answers),
)
