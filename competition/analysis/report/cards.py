"""The head of the page: a card per task with its verdict in words, what was noticed, and what to do next."""

from collections.abc import Iterable
from dataclasses import dataclass

from competition.analysis.diagnoses.diagnosis import Diagnosis, Severity, TaskVerdict, Verdict
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.scores import estimate_of, marks_of, title
from competition.scoring import evaluation
from competition.scoring.metrics import Estimate

_GRAVEST: tuple[Severity, ...] = ("problem", "caution", "note")


@dataclass(frozen=True)
class Card:
    """Where a task stands.

    Attributes:
        task: its name.
        metric: that it is graded by.
        verdict: in words, with the best run and those that are level with it.
        run: that answers the task: the submitted one, else the best.
        marks: of that run.
        score: of that run.
        where: over which queries.
        severity: of the gravest diagnosis of the task; empty where there is none.
    """

    task: str
    metric: str
    verdict: TaskVerdict
    run: str
    marks: tuple[str, ...]
    score: Estimate
    where: str
    severity: str


def cards(evidence: Evidence, verdict: Verdict) -> list[Card]:
    """Return a card per task of a verdict that a complete run answers."""
    by_name = {task.name: task for task in evidence.tasks}
    made = []
    for each in verdict.tasks:
        if each.task not in by_name:
            continue
        task = by_name[each.task]
        lines = evidence.lines(task, each.group, each.split).set_index("run", drop=False)
        answer = each.submitted if each.submitted in lines.index else each.best
        line = lines.loc[answer]

        score = estimate_of(line, "score")
        _, _, where = title(task, each.group, score.queries).partition(", ")
        made.append(
            Card(
                task=task.name,
                metric=task.metric.label,
                verdict=each,
                run=answer,
                marks=marks_of(evidence, task, line),
                score=score,
                where=f"{each.split}, {where}",
                severity=gravest(each for each in verdict.diagnoses if each.task == task.name),
            )
        )
    return made


def gravest(diagnoses: Iterable[Diagnosis]) -> str:
    """Return the gravest severity of some diagnoses; nothing where there is none."""
    severities = {each.severity for each in diagnoses}
    return next((each for each in _GRAVEST if each in severities), "")


def stub_verdict(evidence: Evidence) -> Verdict:
    tasks = []
    for task in evidence.tasks:
        counts, group = evidence.counts(task), evidence.group(task)
        best, *others = counts
        equal = tuple(
            name
            for name in others
            if not evaluation.estimate_difference(counts[name], counts[best], group).differs
        )
        line = evidence.lines(task).iloc[0]
        above = estimate_of(line, "above_baseline")
        sentence = f"{best} is best; {above:+} to {line['baseline']}."
        tasks.append(TaskVerdict(task.name, "out-of-fold", group, best, equal, evidence.submitted.get(task.name, ""), sentence))
    return Verdict(tuple(tasks), (), "")
