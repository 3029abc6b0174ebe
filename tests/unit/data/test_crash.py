"""A writer that is killed, or whose disk fills up, loses nothing finished and leaves nothing broken."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.recordings import ACTION, FRONT, episode

from tempovla.data.errors import DatasetError
from tempovla.data.files import Staging
from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.writer import DatasetWriter

FPS = 10
FEATURES = {
    ACTION: Feature("float32", (2,)),
    FRONT: Feature("video", (32, 32, 3)),
    "wrist": Feature("video", (16, 16, 3)),
}
LENGTHS = (4, 3, 5)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the writer may catch it."""


def frames(index: int) -> dict[str, np.ndarray]:
    return episode(index, LENGTHS[index % 3], FEATURES)


def write(root: Path, episodes: int = 3) -> None:
    writer = DatasetWriter(root, FEATURES, FPS, resume=True)
    while len(writer) < episodes:
        writer.add_episode(frames(len(writer)), f"task {len(writer) % 2}")
    writer.close()


def assert_sound(root: Path, at_least: int = 0) -> int:
    """Every episode that is counted is there as recorded, and where LeRobot's loader looks: by position."""
    source = open_dataset(root)
    source.check()
    assert len(source) >= at_least
    for index in range(len(source)):
        expected = frames(index)
        length = len(expected[ACTION])
        np.testing.assert_array_equal(source.read(index, ACTION, range(length)).value, expected[ACTION])
        for key in (FRONT, "wrist"):
            difference = source.read(index, key, range(length)).value.astype(int) - expected[key]
            assert np.abs(difference).mean() < 6
    tables = [pq.read_table(path, columns=["index"]) for path in sorted(root.glob("data/*/*.parquet"))]
    rows = [value for table in tables for value in table.column("index").to_pylist()]
    total = source.meta.info["total_frames"]
    assert rows[:total] == list(range(total))
    if len(source):
        assert source.statistics[ACTION]["count"] >= total
    return len(source)


def interrupt(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """Kill at the `moment`-th change of the file system; the list grows with each."""
    done: list[str] = []

    def guarded(method):
        def call(self, *arguments, **more):
            if len(done) == moment:
                raise Killed
            done.append(method.__name__)
            return method(self, *arguments, **more)

        return call

    for name in ("replace", "unlink", "write_bytes"):
        monkeypatch.setattr(Path, name, guarded(getattr(Path, name)))
    return done


@pytest.mark.slow
def test_killed_at_any_change_of_the_disk_the_dataset_is_sound_and_goes_on(tmp_path: Path) -> None:
    moment, finished = 0, False
    while not finished:
        root = tmp_path / str(moment)
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, moment)
            try:
                write(root)
                finished = True
            except Killed:
                pass
        if (root / "meta" / "info.json").is_file():
            assert_sound(root)
            write(root)
        else:
            assert moment <= 1  # killed before the writer was there at all
        moment += 1
    assert moment > 40
    assert assert_sound(root) == 3


def test_resuming_after_a_kill_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "publish_json", _raise_killed_after(5))
        with pytest.raises(Killed):
            write(tmp_path / "killed")
    assert assert_sound(tmp_path / "killed") == 1
    write(tmp_path / "killed")
    rows = sum(pq.read_metadata(path).num_rows for path in tmp_path.glob("killed/data/*/*.parquet"))
    assert rows == sum(LENGTHS)
    assert not (tmp_path / "killed" / ".writing").exists()
    used = {span.path for record in open_dataset(tmp_path / "killed").meta.episodes for span in record.videos.values()}
    assert set((tmp_path / "killed").glob("videos/*/*/*.mp4")) == used


def _raise_killed_after(calls: int):
    original, done = Staging.publish_json, []

    def publish_json(self, data, target, indent=None):
        done.append(target)
        if len(done) == calls:
            raise Killed
        original(self, data, target, indent)

    return publish_json


@pytest.mark.slow
def test_kill_minus_nine_at_random_moments(tmp_path: Path) -> None:
    root = tmp_path / "set"
    script = tmp_path / "record.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from pathlib import Path
        from tests.unit.data.test_crash import DatasetWriter, FEATURES, FPS, frames

        while True:
            writer = DatasetWriter(Path(sys.argv[1]), FEATURES, FPS, resume=True)
            for _ in range(4):
                index = writer.add_episode(frames(len(writer)), f"task {len(writer) % 2}")
                print(index, flush=True)
            writer.close()
        """)
    )
    generator = np.random.default_rng(0)
    repository = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"}
    finished = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, str(script), str(root)], stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        for _ in range(int(generator.integers(2, 9))):
            finished = int(process.stdout.readline()) + 1
        try:
            process.wait(float(generator.uniform(0, 0.05)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].split()
        finished = int(rest[-1]) + 1 if rest else finished
        assert assert_sound(root, at_least=finished) <= finished + 1


def test_disk_that_is_full_for_a_while_costs_only_the_episode_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = DatasetWriter(tmp_path, FEATURES, FPS)
    writer.add_episode(frames(0), "task 0")
    original = Staging.publish_table

    def full(self, row_groups, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(Staging, "publish_table", full)
    with pytest.raises(
        DatasetError, match="the disk is full, while writing episode 1; the episodes written, 1 in all, are safe"
    ):
        writer.add_episode(frames(1), "task 1")
    assert assert_sound(tmp_path) == 1
    monkeypatch.setattr(Staging, "publish_table", original)
    writer.add_episode(frames(1), "task 1")
    writer.close()
    assert assert_sound(tmp_path) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_loses_nothing_finished(small_disk: Path) -> None:
    writer = DatasetWriter(small_disk / "set", FEATURES, FPS)

    def write_without_end() -> None:
        while True:
            writer.add_episode(frames(len(writer)), f"task {len(writer) % 2}")

    with pytest.raises(DatasetError, match="the disk is full") as caught:
        write_without_end()
    assert "\n" not in str(caught.value)
    assert len(writer) > 3
    assert assert_sound(small_disk / "set") == len(writer)


def test_disk_too_full_to_join_videos_keeps_every_episode(small_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 1), dtype=np.uint8).repeat(3, axis=-1)
    writer = DatasetWriter(small_disk / "set", {FRONT: FEATURES[FRONT]}, FPS)
    for _ in range(40):
        writer.add_episode({FRONT: noise}, "task")
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "ballast").write_bytes(bytes(free - 40_000))
    with pytest.raises(DatasetError, match="the disk is full, while joining the videos"):
        writer.close()
    source = open_dataset(small_disk / "set")
    source.check()
    assert len(source) == 40
