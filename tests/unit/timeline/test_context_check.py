"""A context that lacks what a policy reads now is refused with what it has in its place."""

from __future__ import annotations

import pytest
import torch

from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.timeline.context_check import check_now, has_now


def test_streams_must_be_in_now_at_offset_zero():
    here, earlier = Track.of(torch.zeros(1, 1, 3), [0]), Track.of(torch.zeros(1, 2, 3), [-2, -1])
    task = (Task("open the drawer", Embodiment("arm", 3, 4, rate_hz=10.0)),)
    context = Context({"arm": earlier, "hand": earlier}, {"arm": here, "hand": earlier}, task, torch.tensor([True]))
    check_now(context, ["arm"])
    assert [has_now(context, key) for key in ("arm", "hand", "eye")] == [True, False, False]
    with pytest.raises(ValueError, match=r"needs streams \['eye'\], but is given \['arm', 'hand'\]; add them, or"):
        check_now(context, ["arm", "eye"])
    with pytest.raises(
        ValueError, match=r"'hand' in .* is given it in `past` at \[-2, -1\] and in `now` at \[-2, -1\]; "
    ):
        check_now(context, ["arm", "hand"])
