"""The error that a broken law raises."""

from __future__ import annotations

from tempovla.timeline.laws.compare import Difference, largest_difference

TOLERANCE = 1e-5
"""Relative; forgives the rounding of other batch sizes and orders of summation in float32."""


class LawViolation(AssertionError):
    """A law does not hold.

    Attributes:
        law: its name, e.g. ``law 5 (reset)``.
        difference: what differs most, where, and by how much.
    """

    def __init__(self, law: str, what: str, difference: Difference) -> None:
        super().__init__(f"{law}: {what}: {difference}")
        self.law = law
        self.difference = difference


def expect_equal(law: str, what: str, expected: object, actual: object, tolerance: float = 0.0) -> None:
    """Raise `LawViolation` unless two nested values of tensors agree within a relative tolerance."""
    difference = largest_difference(expected, actual)
    if difference is not None and difference.exceeds(tolerance):
        raise LawViolation(law, what, difference)
