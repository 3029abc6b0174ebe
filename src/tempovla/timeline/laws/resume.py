"""Law 7 of training."""

from __future__ import annotations

from collections.abc import Callable

from tempovla.timeline.laws.violation import expect_equal


def check_resume(run: Callable[[tuple[int, ...]], object], before: int, after: int) -> None:
    """Law 7: training with a stop in between gives, bit for bit, what training in one go gives.

    Args:
        run: trains from scratch in the given legs, e.g. (3, 2) steps, saving, forgetting all and loading between two
            legs, and returns whatever must not depend on it: weights, optimiser, losses, order of the data, and draws.
        before: steps before the stop.
        after: steps after it.
    """
    expected, actual = run((before + after,)), run((before, after))
    what = f"{before} steps, save, load, {after} steps against {before + after} steps"
    expect_equal("law 7 (resume)", what, expected, actual)
