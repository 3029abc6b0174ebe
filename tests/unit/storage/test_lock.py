"""One writer at a time, named to the second; a death frees the place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tempovla.storage.lock import Lock, check_free, holding
from tempovla.storage.problems import NotWrittenError

HOLD = """
import sys, time
from pathlib import Path
from tempovla.storage.lock import Lock
lock = Lock(Path(sys.argv[1]), Path("data"), "records", remedy="wait")
print("held", flush=True)
time.sleep(600)
"""


def held(path: Path) -> Lock:
    return Lock(path, Path("data"), "trains", remedy="let it end")


@pytest.fixture
def owner(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_the_first_is_and_comes_in_when_it_dies(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    with pytest.raises(ValueError, match=rf"^data: process {owner.pid} records \(for 0 min\) there now; let it end$"):
        held(tmp_path / ".lock")
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    lock = held(tmp_path / ".lock")
    assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    lock.release()
    assert not (tmp_path / ".lock").exists()


def test_the_same_process_does_not_come_in_twice(tmp_path: Path) -> None:
    first = held(tmp_path / ".lock")
    with pytest.raises(ValueError, match=r"^data: this process trains \(for 0 min, and its object is not closed\)"):
        held(tmp_path / ".lock")
    first.release()
    first.release()
    held(tmp_path / ".lock").release()


def test_a_damaged_lock_file_of_a_dead_owner_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"\0\xff[")
    held(tmp_path / ".lock").release()


@pytest.mark.parametrize("text", ["", "[" * 5000, "[]", '{"process": 1e999, "host": "", "doing": "", "since": 0}'])
def test_what_a_held_locks_file_says_in_no_words_is_told_without_a_name(tmp_path: Path, text: str) -> None:
    with held(tmp_path / ".lock"):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(ValueError, match=r"^data: another process writes there now; let it end$"):
            held(tmp_path / ".lock")


def test_a_forked_child_does_not_hold_on_to_what_its_dead_parent_held(tmp_path: Path) -> None:
    forks = HOLD.replace("time.sleep", "import os; child = os.fork(); os.write(1, b'%d\\n' % child); time.sleep")
    command = [sys.executable, "-c", forks, str(tmp_path / ".lock")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "held\n"
    child = max(int(parent.stdout.readline()), int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    held(tmp_path / ".lock").release()
    os.kill(child, signal.SIGKILL)


def test_of_many_that_come_at_once_one_holds_at_any_time(tmp_path: Path) -> None:
    """Locks that are removed at their release are neither lost nor granted twice."""
    inside, most, done = [0], [0], [0]

    def work() -> None:
        while done[0] < 200:
            try:
                lock = held(tmp_path / ".lock")
            except ValueError:
                continue
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            done[0] += 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_target_is_held_by_a_hidden_file_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "results.json"
    with holding(target, "evaluates", remedy="wait"):
        assert [path.name for path in target.parent.iterdir()] == [".results.json.lock"]
        (tmp_path / "link").symlink_to("new")
        with (
            pytest.raises(ValueError, match=r"link/results.json: this process evaluates"),
            holding(tmp_path / "link" / "results.json", "evaluates", remedy="wait"),
        ):
            pass
    assert not target.parent.exists()


def test_a_device_or_a_pipe_is_refused_and_no_lock_is_put_beside_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(
            NotWrittenError, match=r"pipe: not written \(is a device or a pipe, not a file\); choose another"
        ),
        holding(tmp_path / "pipe", "evaluates", remedy="wait"),
    ):
        pass
    assert os.listdir(tmp_path) == ["pipe"]


def test_whether_a_place_is_free_is_told_without_writing_there(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    check_free(path, tmp_path, remedy="wait")
    assert os.listdir(tmp_path) == []
    with held(path), pytest.raises(ValueError, match=rf"^{tmp_path}: this process trains .* there now; wait$"):
        check_free(path, tmp_path, remedy="wait")
    path.parent.mkdir()
    path.write_text('{"process": 1}')  # of a dead owner
    check_free(path, tmp_path, remedy="wait")
    assert path.read_text() == '{"process": 1}'


@pytest.mark.parametrize("name", [".lock", ".rep.html.lock"])
def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path: Path, name: str) -> None:
    victim, lock = tmp_path / "victim", tmp_path / name
    victim.write_text("precious")
    lock.symlink_to(victim)
    with pytest.raises(ValueError, match=rf"^{lock}: is a link, but a lock must be a file; remove it$"):
        held(lock)
    assert victim.read_text() == "precious"
    victim.unlink()
    with pytest.raises(ValueError, match="is a link"):
        held(lock)
    assert not victim.exists()
    lock.unlink()
    held(lock).release()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_lock_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lock")
    with pytest.raises(ValueError, match=r"\.lock: is not a file, but a lock must be one; remove it$"):
        held(tmp_path / ".lock")
    assert (tmp_path / ".lock").exists()


def test_a_lock_that_is_another_name_of_a_file_is_held_without_writing(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    os.link(tmp_path / "victim", tmp_path / ".lock")
    lock = held(tmp_path / ".lock")
    with pytest.raises(ValueError, match=r"^data: another process writes there now"):
        held(tmp_path / ".lock")
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert (tmp_path / "victim").read_text() == "precious"
