"""The figures of a run, and what is dropped of them on resuming."""

from __future__ import annotations

from tempovla.train.metrics import MetricsLog, read_metrics

FIGURES = {"total": 1.0, "a": 0.5}


def line(train_step: int) -> dict:
    return {"train_step": train_step, "phase": "p", **FIGURES}


def test_lines_beyond_the_resumed_step_and_torn_ones_are_dropped(tmp_path):
    log = MetricsLog(tmp_path, train_step=0)
    for step in (2, 4, 6):
        log.write(step, "p", FIGURES)
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"train_step": 8, "ph')
    assert [entry["train_step"] for entry in read_metrics(tmp_path)] == [2, 4, 6]
    log = MetricsLog(tmp_path, train_step=4)
    log.write(5, "p", FIGURES)
    log.close()
    assert read_metrics(tmp_path) == [line(2), line(4), line(5)]


def test_tensorboard_gets_the_same_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path, train_step=0)
    log.write(2, "p", FIGURES)
    log.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("p/a")] == [(2, 0.5)]
    assert [(event.step, event.value) for event in board.Scalars("p/total")] == [(2, 1.0)]
