"""What the tasks of the memory benchmark draw: fair cues, and pads that cannot be touched both at once."""

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tempovla.env.memory_tasks import (
    GOAL_X_M,
    GOAL_Y_M,
    MEMORY_TASKS,
    TARGET_RADIUS_M,
    Plan,
    check_memory_task,
)


def plans(task: str, count: int = 400) -> list[Plan]:
    generator = np.random.default_rng(0)
    return [MEMORY_TASKS[task].draw(generator) for _ in range(count)]


def test_the_cue_is_a_coin_that_the_pads_do_not_tell() -> None:
    drawn = plans("colour-cue")
    answers = np.array([plan.order[0] for plan in drawn])
    yellow_is_right = np.array([plan.targets[0][0] > 0 for plan in drawn])
    for side in (True, False):
        assert 0.4 < answers[yellow_is_right == side].mean() < 0.6
    assert 0.4 < yellow_is_right.mean() < 0.6
    assert all(plan.cue[0].colour == plan.scene[plan.order[0]].colour for plan in drawn)
    assert {plan.scene[0].colour for plan in drawn} != {plan.scene[1].colour for plan in drawn}


ROOM_TASKS = ["lesson", "earlier-lesson"]


@pytest.mark.parametrize("task", ["colour-cue", "touch-sequence", "touch-twice", *ROOM_TASKS])
def test_pads_lie_apart_on_either_side(task: str) -> None:
    for plan in plans(task):
        (a, b), pads = np.array(plan.targets), plan.scene
        assert a[0] * b[0] < 0
        assert np.linalg.norm(a - b) > 2 * TARGET_RADIUS_M
        assert [pad.position[:2] for pad in pads] == [tuple(a), tuple(b)]


def test_the_hidden_goal_is_anywhere_and_only_the_cue_shows_it() -> None:
    drawn = plans("hidden-goal")
    goals = np.array([plan.targets[0] for plan in drawn])
    for axis, (low, high) in enumerate((GOAL_X_M, GOAL_Y_M)):
        counts, _ = np.histogram(goals[:, axis], bins=4, range=(low, high))
        assert counts.sum() == 400
        assert counts.min() > 70
    assert all(plan.scene == () and plan.cue[0].position[:2] == plan.targets[0] for plan in drawn)


@pytest.mark.parametrize("task", ["touch-sequence", "touch-twice"])
def test_no_share_of_first_touches_beats_the_chance_of_a_sequence(task: str) -> None:
    """A policy of one frame touches the first pad with the same probability at every stage."""
    order = plans(task, 1)[0].order
    shares = np.linspace(0, 1, 1001)
    success = np.prod([shares if pad == 0 else 1 - shares for pad in order], axis=0)
    assert success.max() == pytest.approx(MEMORY_TASKS[task].chance, abs=1e-5)
    assert shares[success.argmax()] == pytest.approx(MEMORY_TASKS[task].first_pad_share, abs=1e-3)


def test_no_spot_beats_the_chance_of_the_hidden_goal() -> None:
    generator = np.random.default_rng(0)
    goals = np.stack([generator.uniform(*GOAL_X_M, 200_000), generator.uniform(*GOAL_Y_M, 200_000)], 1)
    middle = [np.mean(GOAL_X_M), np.mean(GOAL_Y_M)]
    hit = (np.linalg.norm(goals - middle, axis=1) <= TARGET_RADIUS_M).mean()
    assert hit == pytest.approx(MEMORY_TASKS["hidden-goal"].chance, abs=0.003)


def in_room(task: str, room: int, seed: int = 0, house: int = 0) -> Plan:
    return MEMORY_TASKS[task].draw(np.random.default_rng(seed), house, room)


def test_a_room_decides_where_the_pads_are_to_a_centimetre_and_which_is_right() -> None:
    for room in range(40):
        lesson, test = in_room("lesson", room, seed=1), in_room("earlier-lesson", room, seed=2)
        assert lesson.order == test.order
        apart = np.abs(np.array(lesson.targets) - test.targets)
        assert 0 < apart.max() < 0.0101
        assert test.cue == ()
        assert lesson.cue[0].position[:2] == lesson.targets[lesson.order[0]]
        assert [pad.colour for pad in lesson.scene] == [pad.colour for pad in test.scene]


def test_which_pad_is_right_in_a_room_is_a_coin_that_its_pads_do_not_tell() -> None:
    rooms = [in_room("earlier-lesson", room) for room in range(400)]
    answers = np.array([plan.order[0] for plan in rooms])
    places = np.array([np.ravel(plan.targets) for plan in rooms])
    assert 0.45 < answers.mean() < 0.55
    for axis in range(4):
        low = places[:, axis] < np.median(places[:, axis])
        assert 0.4 < answers[low].mean() < 0.6


def test_houses_have_other_rooms() -> None:
    first, second = ([in_room("lesson", room, house=house).targets for room in range(50)] for house in (0, 1))
    apart = np.abs(np.array(first) - second).max(axis=(1, 2))
    assert (apart > 0.011).all()


def test_without_a_number_the_episode_draws_its_room() -> None:
    drawn = {np.round(plan.targets, 1).tobytes() for plan in plans("lesson", 40)}
    assert len(drawn) > 10


def test_unknown_tasks_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no task 'color-cue' of the memory benchmark; did you mean colour-cue\?"):
        check_memory_task("color-cue")
    with pytest.raises(ValueError, match=r"no task 'fly' .*; choose from colour-cue, hidden-goal, touch-sequence"):
        check_memory_task("fly")
