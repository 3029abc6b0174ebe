import torch

from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.transform.blind import BlankImages

FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def test_pictures_turn_black_whether_given_or_not_and_nothing_else_changes():
    rows = 2
    state = Track.of(torch.ones(rows, 1, 3), (0,))
    front = torch.full((rows, 2, 8, 8, 3), 200, dtype=torch.uint8)
    context = Context(
        past={FRONT: Track.of(front, (-2, -1))},
        now={"observation.state": state},
        task=(Task("open", Embodiment("arm", 3, 1, 10.0)),) * rows,
        first=torch.zeros(rows, dtype=torch.bool),
    )
    action = Track.of(torch.ones(rows, 1, 1), (0,))
    seen, future = BlankImages((FRONT, WRIST), 4).forward(context, {FRONT: Track.of(front, (1, 2)), "action": action})
    for track, offsets in (
        (seen.past[FRONT], [-2, -1]),
        (seen.now[FRONT], [0]),
        (seen.now[WRIST], [0]),
        (future[FRONT], [1, 2]),
    ):
        assert track.offset.tolist() == offsets
        assert track.value.shape == (rows, len(offsets), 3, 4, 4)
        assert track.value.dtype == torch.uint8
        assert not track.value.any()
        assert track.valid.all()
    assert seen.now["observation.state"] is state
    assert future["action"] is action
