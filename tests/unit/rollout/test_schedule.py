"""Rows keep their tasks, every episode is played once."""

from tempovla.rollout.schedule import Schedule

TASKS = ["a"] * 4 + ["b"] * 4 + ["c"] * 4


def drain(schedule: Schedule, num_rows: int) -> dict[int, list[int]]:
    """Episodes by row, the rows taking turns."""
    played: dict[int, list[int]] = {row: [] for row in range(num_rows)}
    while schedule:
        for row in range(num_rows):
            episode = schedule.take(row)
            if episode is not None:
                played[row].append(episode)
    return played


def test_rows_of_a_task_stand_together_and_play_nothing_else():
    played = drain(Schedule(TASKS, 6), 6)
    assert played == {0: [0, 2], 1: [1, 3], 2: [4, 6], 3: [5, 7], 4: [8, 10], 5: [9, 11]}


def test_fewer_rows_than_tasks_change_tasks_only_when_one_is_done():
    played = drain(Schedule(TASKS, 2), 2)
    assert [TASKS[episode] for episode in played[0]] == ["a"] * 4 + ["c"] * 2
    assert [TASKS[episode] for episode in played[1]] == ["b"] * 4 + ["c"] * 2


def test_a_row_without_work_helps_where_most_is_left():
    schedule = Schedule(["a", "b", "b", "c", "c", "c"], 3)
    assert schedule.take(0) == 0
    assert schedule.take(0) == 3


def test_more_rows_than_episodes_leave_rows_without():
    schedule = Schedule(["a", "b"], 3)
    assert sorted(filter(lambda e: e is not None, (schedule.take(row) for row in range(3)))) == [0, 1]
    assert schedule.take(0) is None
    assert not Schedule([], 3)
    assert Schedule([], 3).take(0) is None
