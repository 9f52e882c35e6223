"""The verdict on a workspace: a sentence per task, the rules that fire, and what to do next."""

from competition.analysis.diagnoses import (
    audits,
    data,
    ensembles,
    files,
    outputs,
    position,
    training,
)
from competition.analysis.diagnoses.diagnosis import Diagnosis, TaskVerdict, Verdict
from competition.analysis.diagnoses.facts import OUT_OF_FOLD, Facts, Line, read_facts
from competition.analysis.diagnoses.next_step import suggest_next
from competition.analysis.diagnoses.position import describe_place, equal_to_best
from competition.analysis.diagnoses.rule import Rule
from competition.core.errors import pluralize
from competition.pipeline.execute import StepStates
from competition.pipeline.steps import Pipeline
from competition.scoring.evaluation import over_group
from competition.scoring.intervals import Estimate

# Of one severity, the earlier ones are graver.
RULES: tuple[Rule, ...] = (
    *files.RULES,
    *outputs.RULES,
    *position.RULES,
    *data.RULES,
    *audits.RULES,
    *training.RULES,
    *ensembles.RULES,
)
_SEVERITIES = ("problem", "caution", "note")


def judge(pipeline: Pipeline, states: StepStates | None = None) -> Verdict:
    """Return where a workspace stands, what is wrong with it, and what to do next.

    Nothing is trained and no table of rows is read: scores, cards and logs are.

    Args:
        pipeline: of the workspace.
        states: of `pipeline.steps()`, where the caller knows them.
    """
    return judge_facts(read_facts(pipeline, states))


def judge_facts(facts: Facts) -> Verdict:
    """Return the verdict on the facts of a workspace."""
    found = [diagnosis for rule in RULES for diagnosis in rule.diagnose(facts)]
    diagnoses: list[Diagnosis] = sorted(found, key=lambda each: _SEVERITIES.index(each.severity))

    answered = [task for task in facts.tasks if task in facts.submission]
    tasks = tuple(_judge_task(facts, task) for task in answered or facts.tasks)
    return Verdict(tasks, tuple(diagnoses), suggest_next(facts, diagnoses))


def _judge_task(facts: Facts, task: str) -> TaskVerdict:
    """Return where a task stands, by the lines that tell its runs apart."""
    lines = facts.leading(task)
    submitted = facts.submission.get(task, "")
    if not lines:
        sentence = f"{task}: no run has a score yet."
        return TaskVerdict(task, OUT_OF_FOLD, "all", "", (), submitted, sentence, sentence)

    best = lines[0]
    line = facts.line(task, submitted) or best
    return TaskVerdict(
        task=task,
        split=best.split,
        group=best.group,
        best=best.run,
        equal=equal_to_best(lines),
        submitted=submitted,
        sentence=_sentence(line, best, submitted, figures=True),
        headline=_sentence(line, best, submitted, figures=False),
    )


def _sentence(line: Line, best: Line, submitted: str, figures: bool) -> str:
    """Return one sentence on a run: its score, and whether it is better than the two baselines.

    Args:
        line: of the run that is submitted, or of the best where that has no score.
        best: the line of the best run.
        submitted: the run that is submitted; empty for none.
        figures: give the differences to the baselines.
    """
    role = "is submitted" if line.run == submitted else "is best"
    units = ("row", "rows") if line.unit == "row" else ("query", "queries")
    over = over_group(pluralize(line.queries, *units), line.group)
    direction = ", lower is better" if line.sign < 0 else ""
    score = f"{line.metric} {line.score.value:.4f} over {over}{direction}"
    if line.run != best.run:
        score += f"; best is {best.run}, {best.score.value:.4f}"

    compared: list[tuple[Estimate | None, str]] = [(line.above_baseline, line.baseline)]
    if line.floor and line.run != line.floor:
        compared.insert(0, (line.above_floor, line.floor))
    places = [describe_place(line, *each, figures) for each in compared]
    ranks = [line.compares(difference) for difference, _ in compared]
    joint = " and "
    if len(ranks) > 1 and ranks[0] == ranks[1]:
        # Said once of both.
        places[1] = places[1].partition(" than ")[2] or places[1]
        joint = " or " if ranks[0] == 0 else joint
    elif 1 in ranks and None not in ranks:
        joint = ", but "
    return f"{line.task}: {line.run} {role} ({score}), {joint.join(places)}."
