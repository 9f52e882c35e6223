"""The one thing that would most likely help next, and its cost."""

from collections.abc import Callable, Sequence

from competition.analysis.diagnoses.diagnosis import Diagnosis
from competition.analysis.diagnoses.facts import Facts
from competition.analysis.diagnoses.run_facts import RunFacts
from competition.core.errors import pluralize

# Diagnoses whose own action comes first, the most urgent before the others.
_URGENT = (
    "constant-outputs",
    "stale-submission",
    "no-labels",
    "too-few-queries",
    "random-encoder",
    "best-not-submitted",
)

# What helps most is done once, by the recipes as they are: the first that applies is suggested.
_Suggestion = Callable[[Facts, frozenset[str]], str]


def suggest_next(facts: Facts, diagnoses: Sequence[Diagnosis]) -> str:
    """Return what would most likely help next, with its command and its cost where that is known.

    Args:
        facts: of the workspace.
        diagnoses: that fired.
    """
    if facts.states:
        verb = "is" if len(facts.states) == 1 else "are"
        steps = pluralize(len(facts.states), "step")
        return f"`comp run` makes {steps} that {verb} missing or out of date."

    by_code = {each.code: each for each in reversed(diagnoses)}
    for code in _URGENT:
        if code in by_code:
            return f"{by_code[code].sentence} {by_code[code].action}"

    codes = frozenset(by_code)
    suggestions = (suggest(facts, codes) for suggest in _SUGGESTIONS)
    return next((each for each in suggestions if each), _LAST)


# The time of a step goes as layers x width^2: 12 x 384 instead of the 3 x 256 of `mini`.
_E5_SMALL = (12 * 384**2) / (3 * 256**2)

_LAST = "`comp report` shows the queries on which runs are wrong."


def _train_an_encoder(facts: Facts, codes: frozenset[str]) -> str:
    if any(run.encoder for run in facts.runs.values()):
        return ""
    return (
        'Add "b1", a neural network, to `recipes` of competition.toml; '
        "`comp train --recipe b1 --dry-run` measures its cost."
    )


def _more_epochs(facts: Facts, codes: frozenset[str]) -> str:
    run = _dearest(facts)
    if "still-learning" not in codes or run is None or run.encoder is None:
        return ""
    epochs = run.encoder.epochs
    return f"Set epochs = {2 * epochs} in [overrides], since training was still getting better; {_cost(run, 2)}."


def _pretrain(facts: Facts, codes: frozenset[str]) -> str:
    run = _dearest(facts)
    if run is None or run.pretrained or not codes & {"encoders-behind-lexical", "behind-lexical"}:
        return ""
    return (
        'Set encoder = "pretrained" in [overrides]: `comp run` then lets the encoder read the catalogue first, which '
        f"can take hours and shows the time left, and trains again: {_cost(run, 1)}."
    )


def _larger_encoder(facts: Facts, codes: frozenset[str]) -> str:
    run = _dearest(facts)
    if run is None or run.encoder is None or run.encoder.encoder != "mini":
        return ""
    cost = (
        _cost(run, _E5_SMALL) if run.training_seconds else "training takes some nine times longer"
    )
    return (
        'Try a larger encoder in a second workspace: preset = "e5-small" in its competition.toml. It is downloaded '
        f"once; {cost}."
    )


def _dearest(facts: Facts) -> RunFacts | None:
    """Return the neural network whose training took longest; None where there is none."""
    encoders = [run for run in facts.runs.values() if run.encoder]
    return max(encoders, key=lambda run: run.training_seconds or 0.0, default=None)


def _cost(run: RunFacts, times: float) -> str:
    """Return what training a run again costs, by its log."""
    seconds = run.training_seconds
    if seconds is None:
        return f"`comp train --recipe {run.name} --dry-run` measures the cost"
    return f"training {run.name} took {_duration(seconds)}" + (
        f" and would take {_duration(times * seconds)}" if times != 1 else ""
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_SUGGESTIONS: tuple[_Suggestion, ...] = (
    _train_an_encoder,
    _more_epochs,
    _larger_encoder,
    _pretrain,
)
