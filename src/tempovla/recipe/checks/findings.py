"""The findings of a check: what was looked at, whether it must hold, and whether it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tempovla.timeline.arguments import with_noun

Severity = Literal["required", "advice"]
Status = Literal["pass", "fail", "warn", "skip"]
STATUSES: tuple[Status, ...] = ("pass", "fail", "warn", "skip")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        id: what was looked at, e.g. `chunk.libero_10`; the same in every version of the report.
        severity: `required` if nothing can be trained on what fails it, else `advice`.
        status: `pass`, `fail`, `warn`, or `skip` where it could not be looked at.
        message: what was found, in a line, with the remedy where there is one to name.
    """

    id: str
    severity: Severity
    status: Status
    message: str

    @property
    def line(self) -> str:
        """The finding as people read it."""
        return f"[{self.status.upper()}] {self.id}: {self.message}"


@dataclass
class Findings:
    """Findings in the order in which they were made.

    Attributes:
        made: the findings.
        figures: numbers about datasets by name, as plain JSON values.
    """

    made: list[Finding] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def require(self, id: str, problem: str | None, holds: str) -> bool:
        """Add what must hold: `problem` if there is one, else `holds`; return whether it holds."""
        status: Status = "pass" if problem is None else "fail"
        self._add(id, "required", status, holds if problem is None else problem)
        return problem is None

    def advise(self, id: str, problem: str | None, holds: str) -> None:
        """Add what should hold."""
        self._add(id, "advice", "pass" if problem is None else "warn", holds if problem is None else problem)

    def skip(self, ids: Iterable[str], reason: str) -> None:
        """Add what could not be looked at, because something else failed or was not asked for."""
        for id in ids:
            self._add(id, "required", "skip", reason)

    def _add(self, id: str, severity: Severity, status: Status, message: str) -> None:
        self.made.append(Finding(id, severity, status, " ".join(message.split())))

    @property
    def passed(self) -> bool:
        """Whether everything holds that must."""
        return not any(finding.status == "fail" for finding in self.made)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each status."""
        found = Counter(finding.status for finding in self.made)
        return {status: found[status] for status in STATUSES}

    @property
    def lines(self) -> list[str]:
        """The findings and a summary, for people."""
        counts = self.counts
        words = {"pass": "passed", "fail": "failed", "warn": "with a warning", "skip": "skipped"}
        told = ", ".join(f"{counts[status]} {words[status]}" for status in STATUSES)
        return [*(finding.line for finding in self.made), f"{with_noun(len(self.made), 'check')}: {told}"]

    def to_json(self) -> dict[str, Any]:
        """Return the findings as plain JSON values."""
        return {
            "passed": self.passed,
            "summary": self.counts,
            "checks": [asdict(finding) for finding in self.made],
            "datasets": self.figures,
        }
