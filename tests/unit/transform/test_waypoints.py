import pytest
import torch

from tempovla.timeline import ActionChunk, Context, Track
from tempovla.timeline.trajectory import waypoints_of
from tempovla.transform.waypoints import Waypoints

STEPS = torch.tensor([[[3.0, 0.1, 0.2], [2.0, -0.1, 0.1], [1.0, 0.0, -0.3]]])
NOTHING = Context({}, {}, (), torch.zeros(1, dtype=torch.bool))


def test_actions_become_poses_in_the_frame_of_now_and_come_back():
    transform = Waypoints(2.0)
    before = Track.of(STEPS[:, :1], (-1,))
    context, future = transform.forward(
        Context({"action": before}, {}, (), NOTHING.first), {"action": Track.of(STEPS, (0, 1, 2))}
    )
    assert context.past["action"] is before
    waypoints = future["action"].value * torch.tensor([[2.5, 0.175, 0.125], [5.0, 0.4, 0.2], [7.5, 0.775, 0.275]])
    waypoints += torch.tensor([[2.5, 0.0, 0.0], [5.0, 0.0, 0.0], [7.5, 0.0, 0.0]])
    torch.testing.assert_close(waypoints, waypoints_of(STEPS))
    back = transform.inverse(ActionChunk.of(future["action"].value, range(3)))
    torch.testing.assert_close(back.value, STEPS, rtol=1e-6, atol=1e-6)


def test_nothing_is_known_behind_an_unknown_step_whatever_it_holds():
    valid = torch.tensor([[True, False, True]])
    values = [Waypoints(2.0).forward(NOTHING, {"action": Track.of(STEPS.clone(), (0, 1, 2), valid)})[1]["action"]]
    broken = STEPS.clone()
    broken[0, 1] = torch.nan
    values.append(Waypoints(2.0).forward(NOTHING, {"action": Track.of(broken, (0, 1, 2), valid)})[1]["action"])
    for track in values:
        assert track.valid.tolist() == [[True, False, False]]
        assert torch.equal(track.value[:, 0], values[0].value[:, 0])


def test_what_is_no_trajectory_is_refused():
    with pytest.raises(ValueError, match=r"at \[1, 2, 3\] are no trajectory"):
        Waypoints(2.0).forward(NOTHING, {"action": Track.of(STEPS, (1, 2, 3))})
    with pytest.raises(ValueError, match=r"actions \(1, 3, 2\)"):
        Waypoints(2.0).forward(NOTHING, {"action": Track.of(STEPS[..., :2], (0, 1, 2))})
    with pytest.raises(ValueError, match="rate_hz=0"):
        Waypoints(0.0)
