"""The head of the page: a card per task with its verdict in words."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import StringIO

from competition.analysis.diagnoses.diagnosis import Diagnosis, Severity, TaskVerdict, Verdict
from competition.analysis.diagnoses.facts import parse_lines, read_facts
from competition.analysis.diagnoses.judge import judge_facts
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.scores import estimate_of, marks_of, title
from competition.scoring.intervals import Estimate

_GRAVEST: tuple[Severity, ...] = ("problem", "caution", "note")


def judge_evidence(evidence: Evidence) -> Verdict:
    """Return the verdict on the runs that the page shows, whether or not `reports/scores.csv` is up to date."""
    board = StringIO(evidence.board.to_csv(index=False))
    facts = replace(read_facts(evidence.pipeline), lines=tuple(parse_lines(board)))
    return judge_facts(facts)


@dataclass(frozen=True)
class Card:
    """Where a task stands.

    Attributes:
        verdict: in words, with the best run and those that are tied with it.
        metric: that the task is graded by.
        severity: of the gravest diagnosis of the task; empty where there is none.
        run: that answers the task: the submitted one, else the best; empty where no run is scored.
        score: of that run.
        marks: of that run.
        where: over which rows.
    """

    verdict: TaskVerdict
    metric: str
    severity: str
    run: str = ""
    score: Estimate | None = None
    marks: tuple[str, ...] = ()
    where: str = ""

    @property
    def sentence(self) -> str:
        """The verdict without the name of the task, which the card has as its heading."""
        return self.verdict.sentence.removeprefix(f"{self.verdict.task}: ")


def cards(evidence: Evidence, verdict: Verdict) -> list[Card]:
    """Return a card per task of a verdict."""
    return [_card(evidence, verdict, each) for each in verdict.tasks]


def _card(evidence: Evidence, verdict: Verdict, each: TaskVerdict) -> Card:
    task = evidence.pipeline.plan.contest.tasks[each.task]
    severity = gravest(one for one in verdict.diagnoses if one.task == task.name)
    card = Card(each, task.metric.label, severity)

    lines = evidence.lines(task, each.group, each.split).to_dict("records")
    by_run = {str(line["run"]): line for line in lines}
    run = each.submitted if each.submitted in by_run else each.best
    if run not in by_run:
        return card

    line = by_run[run]
    score = estimate_of(line, "score")
    _, _, where = title(task, each.group, score.queries).partition(", ")
    where = f"{each.split}, {where}"
    return replace(card, run=run, score=score, marks=marks_of(evidence, task, line), where=where)


def gravest(diagnoses: Iterable[Diagnosis]) -> str:
    """Return the gravest severity of some diagnoses; nothing where there is none."""
    severities = {each.severity for each in diagnoses}
    return next((each for each in _GRAVEST if each in severities), "")
