import math

import pytest
import torch

from tempovla.model.vla.waypoint_controller import WaypointController, WaypointControllerConfig
from tempovla.timeline.trajectory import waypoints_of

CONTROLLER = WaypointController()
WHEELBASE = CONTROLLER.config.wheelbase_m


def plan(*steps: tuple[float, float, float]) -> torch.Tensor:
    """Waypoints (1, H, 3) of steps."""
    return waypoints_of(torch.tensor([steps]))


def straight(speed: float) -> torch.Tensor:
    return plan(*[(speed / 2, 0.0, 0.0)] * 6)


def speed(value: float) -> torch.Tensor:
    return torch.tensor([value])


def test_a_car_that_does_as_planned_on_a_straight_road_does_nothing():
    controls = CONTROLLER.controls(straight(8.0), speed(8.0))
    for control in controls:
        assert control.item() == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(CONTROLLER.first_step(straight(8.0), speed(8.0)), torch.tensor([[4.0, 0.0, 0.0]]))


@pytest.mark.parametrize("turn", [0.15, -0.15])
def test_it_steers_along_an_arc(turn):
    """The angle of the wheels is that of the arc's curvature, and the first step is the arc's own."""
    way, radius = 2.5, 2.5 / turn
    step = (radius * math.sin(turn), radius * (1 - math.cos(turn)), turn)
    controls = CONTROLLER.controls(plan(*[step] * 6), speed(5.0))
    assert controls.steering.item() == pytest.approx(math.atan(WHEELBASE / radius), rel=0.03)
    found = CONTROLLER.first_step(plan(*[step] * 6), speed(5.0))[0]
    torch.testing.assert_close(found, torch.tensor(step), rtol=0.03, atol=1e-3)
    assert found.norm() > 0.9 * way


def test_it_brakes_to_a_stop_where_the_plan_ends():
    """2.5 m at 5 m/s leave half a second and a bit: braking at v^2 / (2 s), within the limit."""
    stopping = plan((2.0, 0.0, 0.0), (0.5, 0.0, 0.0), *[(0.0, 0.0, 0.0)] * 4)
    controls = CONTROLLER.controls(stopping, speed(5.0))
    assert controls.acceleration.item() == pytest.approx(-5.0, rel=1e-5)
    assert controls.brake.item() == pytest.approx(5.0 / 8.0, rel=1e-5)
    assert controls.throttle.item() == 0.0


def braked(value: float, room: float) -> torch.Tensor:
    """Places (6,) of a car that brakes evenly and stops after so many metres."""
    time, deceleration = torch.arange(1, 7) / 2, value**2 / (2 * max(room, 1e-6))
    moving = time.clamp(max=value / deceleration if deceleration else 0.0)
    return value * moving - 0.5 * deceleration * moving.square()


def kept(value: float, room: float) -> torch.Tensor:
    """Places (6,) of a car that keeps its speed until it stands, as no car can."""
    return (value * torch.arange(1, 7) / 2).clamp(max=room)


@pytest.mark.parametrize("places", [braked, kept])
@pytest.mark.parametrize(("begin", "room"), [(7.0, 8.0), (12.0, 24.0), (10.0, 16.0), (9.0, 6.0)])
def test_it_stops_where_its_plan_does_and_begins_to_brake_in_time(places, begin, room):
    """At every control step the plan stops at the same place, where another car stands; braking is even.

    The last centimetres are soft: the car comes to rest within a control step.
    """
    place, value, needed, hardest = 0.0, begin, begin**2 / (2 * room), 0.0
    for _ in range(12):
        steps = torch.zeros(1, 6, 3)
        steps[0, :, 0] = places(value, max(room - place, 0.0))
        acceleration = CONTROLLER.controls(steps, speed(value)).acceleration.item()
        way = CONTROLLER.first_step(steps, speed(value))[0, 0].item()
        place, value, hardest = place + way, max(0.0, value + acceleration / 2), max(hardest, -acceleration)
    assert value == 0.0
    assert room - 0.15 < place < room + 0.15
    assert hardest < 1.05 * needed


def test_gentle_braking_is_not_begun_before_the_plan_does():
    """A plan that slows from 8 to 6 m/s in its second half asks for 0.7 m/s2 at the most, which can wait."""
    later = plan(*[(4.0, 0.0, 0.0)] * 3, *[(3.0, 0.0, 0.0)] * 3)
    assert CONTROLLER.controls(later, speed(8.0)).acceleration.item() == pytest.approx(0.0, abs=1e-5)


def test_a_car_at_rest_stays_until_the_plan_moves():
    nothing = torch.zeros(1, 6, 3)
    torch.testing.assert_close(CONTROLLER.first_step(nothing, speed(0.0)), torch.zeros(1, 3))
    controls = CONTROLLER.controls(straight(3.0), speed(0.0))
    assert controls.acceleration.item() == pytest.approx(CONTROLLER.config.max_acceleration)
    assert controls.throttle.item() == 1.0


def test_a_plan_that_creeps_is_one_of_standing():
    """Of an error of a few centimetres a step the car would be over the stop line before the light is green."""
    creeping = plan(*[(0.1, 0.0, 0.0)] * 6)
    assert CONTROLLER.first_step(creeping, speed(0.0)).tolist() == [[0.0, 0.0, 0.0]]
    assert CONTROLLER.first_step(creeping, speed(1.0))[0].tolist() == pytest.approx([0.25, 0.0, 0.0])
    slow = plan(*[(0.25, 0.0, 0.0)] * 6)
    assert CONTROLLER.first_step(slow, speed(0.0))[0, 0] > 0.05


def test_it_never_drives_backwards():
    """A plan that stays where it is brings the car to rest within the step, if braking allows it."""
    slow, fast = (CONTROLLER.first_step(torch.zeros(1, 6, 3), speed(value))[0].tolist() for value in (1.0, 8.0))
    assert slow == pytest.approx([0.25, 0.0, 0.0])
    assert fast == pytest.approx([8.0 * 0.5 - 0.5 * 8.0 * 0.25, 0.0, 0.0])


def test_steering_keeps_to_its_limits():
    sideways = plan(*[(1.0, 1.0, 0.5)] * 6)
    slow, fast = (CONTROLLER.controls(sideways, speed(value)).steering.item() for value in (1.0, 12.0))
    assert slow == pytest.approx(CONTROLLER.config.max_steering_rad)
    limit = CONTROLLER.config.max_lateral_acceleration / 12.0**2
    assert fast == pytest.approx(math.atan(WHEELBASE * limit), rel=1e-4)


def test_the_whole_plan_decides_where_to_aim():
    """A first step that swerves while the rest goes straight ahead changes the direction little."""
    swerve = plan((2.5, 0.0, 0.0), *[(2.5, 0.0, 0.0)] * 5)
    swerve[0, 0, 1] = 1.0
    assert abs(CONTROLLER.controls(swerve, speed(5.0)).steering.item()) < math.atan(2 * WHEELBASE * 1.0 / 2.5**2) / 10


def test_rows_do_not_see_each_other_and_gradients_are_finite():
    plans = torch.cat([straight(8.0), torch.zeros(1, 6, 3), plan(*[(2.0, 0.1, 0.1)] * 6)]).requires_grad_()
    speeds = torch.tensor([6.0, 0.0, 4.0])
    together = CONTROLLER.first_step(plans, speeds)
    for row in range(3):
        torch.testing.assert_close(CONTROLLER.first_step(plans[row : row + 1], speeds[row : row + 1])[0], together[row])
    (gradient,) = torch.autograd.grad(together.sum(), plans)
    assert gradient.isfinite().all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"must be \(B, H, 2 or 3\) and \(B,\)"):
        CONTROLLER.controls(torch.zeros(2, 6, 3), speed(1.0))
    with pytest.raises(ValueError, match=r"controller.wheelbase_m=0"):
        WaypointControllerConfig(wheelbase_m=0.0)
    with pytest.raises(ValueError, match="exceeds max_lookahead_m"):
        WaypointControllerConfig(min_lookahead_m=20.0)
