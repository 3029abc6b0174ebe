"""Laws 6 and 8 of transforms."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.laws.perturb import fill_invalid
from tempovla.timeline.laws.violation import TOLERANCE, expect_equal
from tempovla.timeline.policy import ActionChunk
from tempovla.timeline.sample import Context, TimelineSample
from tempovla.timeline.track import Track, Tracks
from tempovla.timeline.transform import Transform


def check_inverse(
    transform: Transform, sample: TimelineSample, *, key: str = ACTION_KEY, tolerance: float = TOLERANCE
) -> None:
    """Law 6: what `forward` does to future actions, `inverse` undoes.

    Args:
        transform: fitted.
        sample: raw, with actions under `key` at offsets 0, 1, ..., H-1.
        key: the action stream.
        tolerance: relative.
    """
    action = sample.future[key]
    _, future = transform.forward(sample.context, sample.future)
    track = future[key]
    restored = transform.inverse(ActionChunk(track.value, track.valid, track.offset, sample.context.task))
    expected = ActionChunk(action.value, action.valid, action.offset)
    expect_equal("law 6 (inverse)", "actions there and back", _valid_only(expected), _valid_only(restored), tolerance)


def check_parity(
    transform: Transform, sample: TimelineSample, contexts: Sequence[Context] = (), *, tolerance: float = 0.0
) -> None:
    """Law 8: training and rollout see the same observation of the same raw frames.

    Args:
        transform: fitted.
        sample: raw, as the training loader gives it.
        contexts: raw, as rollout builds them from the same frames: one for each row of the sample. If empty, the rows
            of `sample.context` stand for them.
        tolerance: relative; 0 by default, as both sides run the same code.
    """
    trained, _ = transform.forward(sample.context, sample.future)
    for row, context in enumerate(contexts or [sample.context.rows([row]) for row in range(sample.batch_size)]):
        acted, _ = transform.forward(context, {})
        seen = trained.rows([row])
        what = f"observation of row {row}, training against rollout"
        for left, right in ((seen.past, acted.past), (seen.now, acted.now)):
            expect_equal("law 8 (parity)", what, _tracks_where_valid(left), _tracks_where_valid(right), tolerance)
        expect_equal("law 8 (parity)", what, _instructions(seen), _instructions(acted))


def _valid_only(track: Track) -> tuple[Tensor, Tensor, Tensor]:
    return track.value[track.valid].float(), track.valid, track.offset


def _tracks_where_valid(tracks: Tracks) -> dict[str, Track]:
    return {key: fill_invalid(track, 0.0) for key, track in tracks.items()}


def _instructions(context: Context) -> list[str]:
    return [task.instruction for task in context.task]
