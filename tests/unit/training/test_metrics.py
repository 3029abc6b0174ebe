"""The figures of a run, and what is dropped of them on resuming."""

from __future__ import annotations

import resource
import signal
import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tempovla.storage.problems import NotWrittenError
from tempovla.training.metrics import IntervalFigures, MetricsLog, read_metrics

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


def test_a_log_that_is_a_link_to_elsewhere_is_refused_and_what_it_leads_to_stays(tmp_path, monkeypatch):
    run, other = tmp_path / "run", tmp_path / "another.jsonl"
    run.mkdir()
    text = '{"train_step": 1}\n{"train_step": 9}\n'
    other.write_text(text)
    (run / "metrics.jsonl").symlink_to(other)
    with pytest.raises(ValueError, match=r"run/metrics\.jsonl: a link that leads out of .*, to .*another\.jsonl; copy"):
        MetricsLog(run, train_step=1)
    assert other.read_text() == text
    monkeypatch.setenv("TEMPOVLA_LINKED_FOLDERS", str(tmp_path))
    MetricsLog(run, train_step=1).close()
    assert other.read_text() == '{"train_step": 1}\n'
    monkeypatch.delenv("TEMPOVLA_LINKED_FOLDERS")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to("figures.jsonl")  # within the run
    log = MetricsLog(run, train_step=0)
    log.write(2, "p", FIGURES)
    log.close()
    assert read_metrics(run) == [line(2)]


def test_a_full_disk_is_told_once_whatever_was_being_written(tmp_path, capfd):
    threads = threading.active_count()
    log = MetricsLog(tmp_path, train_step=0)
    before, name = resource.getrlimit(resource.RLIMIT_FSIZE), tmp_path / "metrics.jsonl"
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120, before[1]))  # a line of the log fits, the events do not
    try:
        with pytest.raises(NotWrittenError) as error:
            log.write(2, "p", FIGURES)
        assert str(error.value).startswith(f"{name}: not written (File too large); free some space and resume from the")
        with pytest.raises(NotWrittenError):
            log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert capfd.readouterr() == ("", "")
    assert read_metrics(tmp_path) == [line(2)]
    assert threading.active_count() == threads


@pytest.mark.parametrize("tail", [b'{"train_step": 8, "ph', b"\0" * 100, b"\0\0\0\0\n\0", '{"phase": "é'.encode()[:-1]])
def test_a_torn_end_is_dropped_with_one_warning(tmp_path, caplog, tail):
    log = MetricsLog(tmp_path, train_step=0)
    for step in (2, 4):
        log.write(step, "p", FIGURES)
    log.close()
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert [entry["train_step"] for entry in read_metrics(tmp_path)] == [2, 4]
    MetricsLog(tmp_path, train_step=4).close()
    assert path.read_bytes() == whole
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: its last {len(tail)} bytes are torn, as a kill leaves them, and are dropped"
    ]


def test_a_damaged_line_in_the_middle_is_told(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"train_step": 1}\nhalf a li\n{"train_step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2: .*delete the line"):
        MetricsLog(tmp_path, train_step=4)


class Transfers(TorchDispatchMode):
    """Counts the tensors that are read into Python one number at a time."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ == "_local_scalar_dense"
        return function(*args, **kwargs or {})


def test_metrics_stay_on_the_device_until_their_means_are_logged():
    interval = IntervalFigures()
    with Transfers() as transfers:
        for step in range(4):
            interval.add({"total": float(step)}, rows=2, seconds=0.5)
            pairs = {"hits": [step * 2.0, 2.0], "seldom": [5.0, 1.0] if step == 1 else [0.0, 0.0], "never": [0.0, 0.0]}
            interval.add_metrics({name: torch.tensor(pair) for name, pair in pairs.items()})
        assert transfers.count == 0
        assert interval.settle() == {"hits": 3.0}
    assert interval.sums["hits"] == 12.0
    assert interval.settle() == {}
    assert interval.take() == {"total": 1.5, "hits": 1.5, "seldom": 5.0, "samples_per_s": 4.0}


def test_a_figure_that_steps_lack_is_averaged_over_the_others_and_left_out_without_any():
    interval = IntervalFigures()
    interval.add({"total": 1.0, "dyn_loss": 4.0}, rows=2, seconds=0.5)
    interval.add({"total": 2.0}, rows=2, seconds=0.5)
    interval.add({"total": 3.0, "dyn_loss": 8.0}, rows=2, seconds=0.5)
    assert interval.take() == {"total": 2.0, "dyn_loss": 6.0, "samples_per_s": 4.0}
    interval.add({"total": 1.0}, rows=2, seconds=1.0)
    assert interval.take() == {"total": 1.0, "samples_per_s": 2.0}


def test_sums_of_a_checkpoint_that_has_no_counts_are_of_all_its_steps():
    interval = IntervalFigures()
    interval.sums = {"total": 3.0, "steps": 2, "rows": 4, "seconds": 1.0}
    interval.add({"total": 6.0}, rows=2, seconds=0.5)
    assert interval.take() == {"total": 3.0, "samples_per_s": 4.0}
