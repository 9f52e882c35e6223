"""What a verdict consists of: a sentence per task, the diagnoses behind it, and one thing to do next."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["problem", "caution", "note"]


@dataclass(frozen=True)
class Diagnosis:
    """One rule that fired.

    Attributes:
        code: name of the rule, such as `blend-behind-baseline`; docs/diagnoses.md has a section of this name.
        severity: `problem` makes a result wrong or worthless, `caution` makes it doubtful, a `note` informs.
        task: name of the task; empty if it concerns the workspace.
        sentence: what was found, with its figures.
        measured: how it was measured, in a sentence.
        action: what to do about it, a command where there is one; empty if nothing need be done.
    """

    code: str
    severity: Severity
    task: str
    sentence: str
    measured: str
    action: str


@dataclass(frozen=True)
class TaskVerdict:
    """Where a task stands.

    Attributes:
        task: its name.
        split: `out-of-fold` or `test`, whichever can say something.
        group: group of queries that the verdict speaks of.
        best: the run with the best score.
        equal: runs that are not significantly different from it.
        submitted: the run that the submission is made from; empty if none is.
        sentence: one sentence, with figures and intervals.
        headline: the same without differences, for a place beside them.
    """

    task: str
    split: str
    group: str
    best: str
    equal: tuple[str, ...]
    submitted: str
    sentence: str
    headline: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer that a user came for.

    Attributes:
        tasks: one per task that the workspace submits to, in the contest's order.
        diagnoses: rules that fired, the gravest first.
        next: what would most likely help next, at which cost, with the command.
    """

    tasks: tuple[TaskVerdict, ...]
    diagnoses: tuple[Diagnosis, ...]
    next: str
