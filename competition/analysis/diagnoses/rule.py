"""What a rule is: a code, a severity, how it measures, and a small function that looks at the facts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from competition.analysis.diagnoses.diagnosis import Diagnosis, Severity
from competition.analysis.diagnoses.facts import Facts


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    Attributes:
        task: that it concerns; empty for the workspace.
        sentence: with figures and a full stop.
        action: what to do about it; empty if nothing need be done.
    """

    task: str
    sentence: str
    action: str = ""


@dataclass(frozen=True)
class Rule:
    """One diagnosis that may fire, see `docs/diagnoses.md`.

    Attributes:
        code: its name.
        severity: of all that it finds.
        measured: how, in a sentence.
        find: what yields its findings.
    """

    code: str
    severity: Severity
    measured: str
    find: Callable[[Facts], Iterator[Finding]]

    def diagnose(self, facts: Facts) -> Iterator[Diagnosis]:
        """Yield what the rule finds."""
        for found in self.find(facts):
            yield Diagnosis(
                self.code, self.severity, found.task, found.sentence, self.measured, found.action
            )
