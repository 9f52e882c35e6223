"""Rules on what is missing or out of date."""

from collections.abc import Iterator

from competition.analysis.diagnoses.facts import Facts
from competition.analysis.diagnoses.rule import Finding, Rule
from competition.core.errors import pluralize
from competition.pipeline.output_steps import SUBMISSION

_RUN = "`comp run` makes what is missing."


def _missing_folds(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        missing = [step for step, state in run.unfinished.items() if state != "stale"]
        if missing:
            steps = pluralize(len(missing), "step")
            sentence = f"{run.name} lacks {steps}, the first is {missing[0]}."
            yield Finding("", sentence, f"`{run.command}` makes them.")


def _stale_run(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        stale = [step for step, state in run.unfinished.items() if state == "stale"]
        if stale:
            steps = pluralize(len(stale), "step")
            sentence = f"Settings or data have changed since {steps} of {run.name}, the first is {stale[0]}."
            yield Finding("", sentence, f"`{run.command}` rebuilds them.")


def _submission(facts: Facts) -> Iterator[Finding]:
    state = facts.states.get(f"submit {SUBMISSION}")
    if state == "stale":
        sentence = (
            f"submissions/{SUBMISSION} was made from other runs or settings than those of competition.toml, or "
            "was edited."
        )
        yield Finding("", sentence, "`comp submit` writes it again.")


def _no_submission(facts: Facts) -> Iterator[Finding]:
    if facts.states.get(f"submit {SUBMISSION}") == "missing":
        yield Finding("", "There is no submission yet.", _RUN)


def _stale_scores(facts: Facts) -> Iterator[Finding]:
    if facts.lines and facts.states.get("scores"):
        yield Finding("", "The table of scores is older than the runs or settings.", _RUN)


def _not_answered(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        if facts.has_test_rows and task not in facts.submission:
            action = f'Write {task} = "blend" in [submission] of competition.toml.'
            yield Finding(task, f"No run answers {task}.", action)


_STATES = "The fingerprint of each file beside that of what it would be made from now."

RULES = (
    Rule("stale-submission", "problem", _STATES, _submission),
    Rule("missing-folds", "caution", _STATES, _missing_folds),
    Rule("stale-run", "caution", _STATES, _stale_run),
    Rule("stale-scores", "caution", _STATES, _stale_scores),
    Rule("no-submission", "caution", _STATES, _no_submission),
    Rule("task-not-answered", "note", "[submission] of competition.toml.", _not_answered),
)
