"""Worker processes: answers, errors, crashes, and that none outlives its parent."""

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tempovla.env.worker import Worker, WorkerDiedError, search_path

PARENT = """
import collections, importlib, sys, time
from tempovla.env.worker import Worker
workers = [Worker(collections.Counter), Worker(importlib.import_module, "time")]
for worker in workers:
    worker.receive()
print(*[worker.process_id for worker in workers], flush=True)
workers[0].send("update", "abc" * 10)
workers[1].send("sleep", 3600.0)
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


def test_what_is_asked_after_close_is_refused_in_plain_words(counter: Worker) -> None:
    counter.close()
    for ask in (lambda: counter.send("elements"), counter.receive):
        with pytest.raises(ValueError, match=r"^this environment is closed; make a new one$"):
            ask()


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


class StartsPython:
    """As glfw does."""

    def __init__(self) -> None:
        self.code = subprocess.run([sys.executable, "-c", "import ctypes"], check=False).returncode

    def returncode(self) -> int:
        return self.code


def test_modules_in_the_current_folder_do_not_run_in_what_a_worker_starts(tmp_path, monkeypatch) -> None:
    (tmp_path / "ctypes.py").write_text("import os\nos.mkdir('ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    worker = Worker(StartsPython)
    worker.send("returncode")
    assert [worker.receive(), worker.receive()] == [None, 0]
    worker.close()
    assert not (tmp_path / "ran").exists()


FROM_ELSEWHERE = """
import collections
from tempovla.env.worker import Worker
worker = Worker(collections.Counter, "hello")
worker.receive()
worker.close()
"""


@pytest.mark.parametrize("way", [("-c", FROM_ELSEWHERE), ("-m", "start_worker")])
def test_modules_in_the_current_folder_do_not_run_in_a_worker(tmp_path, way) -> None:
    package = Path(__file__).resolve().parents[3] / "src"
    modules = tmp_path / "installed"
    modules.mkdir()
    (modules / "start_worker.py").write_text(FROM_ELSEWHERE)
    current = tmp_path / "current"
    current.mkdir()
    # The parent, started by `python -c` or `-m`, has these on its path, but has loaded them already.
    for name in ("signal", "subprocess", "selectors"):
        (current / f"{name}.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    home = os.pathsep.join([str(package), str(modules)])
    start = f"import sys, signal, subprocess, selectors; sys.path.insert(0, {str(current)!r})\n"
    if way[0] == "-c":
        way = ("-c", start + f"import os; os.chdir({str(current)!r})\n" + FROM_ELSEWHERE)
    else:
        (modules / "start_worker.py").write_text(start + f"import os; os.chdir({str(current)!r})\n" + FROM_ELSEWHERE)
    environment = {**os.environ, "PYTHONPATH": home}
    subprocess.run([sys.executable, *way], cwd=modules, env=environment, check=True)
    assert not (tmp_path / "ran").exists()


def test_the_current_folder_is_searched_only_if_it_is_asked_for_or_needed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    others = [*filter(None, sys.path), "/elsewhere"]
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *others])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert search_path([collections.Counter])[: len(others)] == others
    assert str(tmp_path) not in search_path([collections.Counter])
    assert search_path([of_module("my_simulator", tmp_path / "my_simulator.py", monkeypatch)])[0] == str(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert search_path([collections.Counter])[: len(others) + 1] == [str(tmp_path), *others]


def test_what_is_needed_and_lies_nowhere_on_the_path_is_looked_for_last(tmp_path, monkeypatch) -> None:
    """As pytest finds test modules."""
    for name, file in (("mine", "mine.py"), ("my.own", "my/own.py"), ("my.package", "my/package/__init__.py")):
        needed = of_module(name, tmp_path / file, monkeypatch)
        assert search_path([needed])[-1] == str(tmp_path)


def of_module(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of a module that was loaded from a file."""
    module = type(sys)(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)
    return type("Mine", (), {"__module__": name})
