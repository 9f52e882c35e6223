"""Rules on label audits: one that was skipped, doubts itself, or is not used."""

from collections.abc import Iterator

from competition.analysis.diagnoses.facts import Facts
from competition.analysis.diagnoses.rule import Finding, Rule


def _skipped(facts: Facts) -> Iterator[Finding]:
    for name, card in facts.audits.items():
        if card.get("skipped"):
            action = 'Audit a run over more rows, or write `noise_run = ""` in competition.toml.'
            yield Finding("", f"The audit of {name} was skipped: {card['skipped']}", action)


def _doubts(facts: Facts) -> Iterator[Finding]:
    for name, card in facts.audits.items():
        if card.get("doubts") and not card.get("skipped"):
            doubts = " and ".join(card["doubts"])
            action = 'Audit a better run (`noise_run`), or several together such as "b1+lexical".'
            yield Finding("", f"The audit of {name} doubts itself: {doubts}.", action)


def _not_used(facts: Facts) -> Iterator[Finding]:
    used = {getattr(run.recipe, "noise_from", "") for run in facts.runs.values()}
    for name, card in facts.audits.items():
        if name not in used and not card.get("skipped") and not card.get("doubts"):
            sentence = (
                f"No recipe is trained by the audit of {name}, of {card.get('audited', 0):,} rows."
            )
            action = (
                f'`drop_noise_from = "{name}"` in a recipe trains without the rows that it drops.'
            )
            yield Finding("", sentence, action)


_DOUBTS = (
    "The share of a label's rows that it would drop, and the share on which its models are right, "
    "beside one answer for all."
)

RULES = (
    Rule("audit-doubts-itself", "caution", _DOUBTS, _doubts),
    Rule("audit-skipped", "caution", "Rows of each label in each fold.", _skipped),
    Rule("audit-not-used", "note", "By the recipes: none follows the audit.", _not_used),
)  # fmt: skip
