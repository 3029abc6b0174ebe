"""Worker processes: answers, errors, crashes, and that none outlives its parent."""

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tempovla.env.worker import Worker, WorkerDiedError

PARENT = """
import collections, sys, time
from tempovla.env.worker import Worker
workers = [Worker(collections.Counter) for _ in range(2)]
for worker in workers:
    worker.receive()
print(*[worker.process_id for worker in workers], flush=True)
workers[0].send("update", "abc" * 10)
time.sleep(60)
"""


@pytest.fixture
def counter():
    worker = Worker(collections.Counter, "hello")
    assert worker.receive() is None
    yield worker
    worker.close()


def is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_answers_come_in_the_order_of_the_requests(counter: Worker) -> None:
    counter.send("update", "low")
    counter.send("most_common", 1)
    assert counter.receive() is None
    assert counter.receive() == [("l", 3)]


def test_a_value_error_is_the_callers_and_the_worker_lives_on() -> None:
    worker = Worker(list, [1, 2])
    worker.receive()
    worker.send("index", 3)
    worker.send("index", 2)
    with pytest.raises(ValueError, match="3 is not in list"):
        worker.receive()
    assert worker.receive() == 1
    worker.close()


def test_a_bug_in_the_worker_ends_it_with_a_clear_error(capfd: pytest.CaptureFixture) -> None:
    worker = Worker(collections.Counter)
    worker.receive()
    worker.send("no_such_method")
    with pytest.raises(WorkerDiedError, match="exit code 1; see its message above"):
        worker.receive()
    worker.close()
    assert "no_such_method" in capfd.readouterr().err


def test_a_killed_worker_is_noticed_and_its_signal_named(counter: Worker) -> None:
    os.kill(counter.process_id, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
        counter.receive()
    with pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
        counter.send("most_common")


def test_close_ends_the_process(counter: Worker) -> None:
    counter.close()
    assert not is_running(counter.process_id)


@pytest.mark.parametrize("fatal", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(fatal: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs are deaf to it
    )
    assert parent.stdout is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(is_running, workers))
    parent.send_signal(fatal)
    parent.wait()
    deadline = time.monotonic() + 300
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, workers))


def test_simulator_workers_load_no_torch() -> None:
    code = "import sys, tempovla.env.vector, tempovla.env.collect; sys.exit('torch' in sys.modules)"
    pytest.importorskip("gymnasium")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
