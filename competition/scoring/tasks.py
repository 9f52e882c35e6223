"""ESCI's constants, until every room asks the contest."""

from __future__ import annotations

from competition.scoring.answers import answers, class_names  # noqa
from competition.scoring.contest import Kind, Task  # noqa
from competition.scoring.definition import ESCI, load_contest

CONTEST = load_contest(ESCI)
LOCALES = CONTEST.locale_names
LANGUAGES = CONTEST.languages
LABELS = CONTEST.labels.names
LABEL_MEANINGS = CONTEST.labels.meanings
LABEL_LETTERS = {letter: label for label, letter in CONTEST.labels.letters.items()}
TASKS = CONTEST.tasks
FULL_DEPTH = 10
KINDS = CONTEST.kinds

GAINS = {name: dict(zip(LABELS, gain, strict=True)) for name, gain in CONTEST.labels.gains.items()}
ANSWER_KIND = {name: CONTEST.answer_kind(name).name for name in TASKS}
label_codes = CONTEST.labels.codes
gains = CONTEST.labels.gain
expected_gain = CONTEST.labels.expected_gain


def truth(task, examples):  # noqa
    return task.truth(examples)


def numeric_target(kind, examples):  # noqa
    return (kind if isinstance(kind, Kind) else KINDS[kind]).numeric_target(examples)


def targets_from_classes(kind, probabilities):  # noqa
    return (kind if isinstance(kind, Kind) else KINDS[kind]).targets_from_classes(probabilities)
