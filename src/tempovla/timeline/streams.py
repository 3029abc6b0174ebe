"""The streams that a policy reads and predicts."""

from __future__ import annotations

from dataclasses import dataclass

from tempovla.timeline.source import StreamKind


@dataclass(frozen=True)
class StreamSpec:
    """One stream of a policy.

    Attributes:
        kind: `image`, `depth`, `points`, `state` or `action`.
        shape: of one value; None where any will do, as for pictures and depth that are resized. Of points only the
            numbers of a point matter, (F,).
        normalized: of a state, whether it is normalised by the statistics of the dataset; otherwise the policy reads it
            in its own units.
        has_gripper: of an action, whether its last dimension is a binary gripper in {-1, +1}, which is not normalised.
    """

    kind: StreamKind
    shape: tuple[int, ...] | None = None
    has_gripper: bool = False
    normalized: bool = True

    def __post_init__(self) -> None:
        if self.has_gripper and self.kind != "action":
            raise ValueError(f"a stream of kind {self.kind!r} has no gripper; only an action has one")
