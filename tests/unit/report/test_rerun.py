"""Episodes as rerun recordings, read back with rerun's own tool."""

import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from tempovla.report import rerun
from tempovla.report.rerun import write_rrd
from tempovla.storage.problems import NotWrittenError


def episode(steps: int = 5) -> dict[str, np.ndarray]:
    return {
        "observation.images.front": np.full((steps, 16, 24, 3), 90, np.uint8),
        "observation.state": np.arange(2.0 * steps, dtype=np.float32).reshape(steps, 2),
        "gripper": np.array([True, False] * steps)[:steps],
    }


def rerun_says(*arguments) -> str:
    command = [sys.executable, "-m", "rerun", "rrd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout


def test_every_stream_lies_on_both_timelines(tmp_path):
    pytest.importorskip("rerun", reason="the extra viz is not installed")

    path = write_rrd(episode(), tmp_path / "episode.rrd", 10, "open the drawer", {"observation.state": ["x", "y"]})

    rerun_says("verify", path)
    printed = rerun_says("print", "-vvv", path)
    for entity in ("/instruction", "/observation.images.front", "/observation.state", "/gripper"):
        assert entity in printed.replace("\\", "")
    for words in ("step", "time", "open the drawer", "8.0", "9.0", "PT0.4S"):
        assert words in printed
    assert [path.name for path in tmp_path.iterdir()] == ["episode.rrd"]


def test_points_lie_in_space_without_the_absent_ones(tmp_path):
    pytest.importorskip("rerun", reason="the extra viz is not installed")
    lidar = np.full((5, 3, 4), np.nan, np.float32)
    lidar[:, 0] = [1.25, 2.5, 3.75, 99]
    radar = np.full((5, 2, 5), 6.5, np.float32)
    points = {"lidar": lidar, "radar": radar, "imu": np.zeros((5, 7, 7), np.float32)}

    path = write_rrd(
        episode() | {f"observation.points.{name}": value for name, value in points.items()}, tmp_path / "e.rrd", 2
    )

    printed = rerun_says("print", "-vvv", path).replace("\\", "")
    assert "/observation.points.lidar" in printed
    assert "/observation.points.radar" in printed
    assert "/observation.points.imu" not in printed
    assert "1.25, 2.5, 3.75" in printed
    assert "6.5, 6.5, 0.0" in printed


@pytest.mark.parametrize(
    ("changes", "names", "words"),
    [
        ({"gripper": np.zeros(4)}, {}, r"'gripper': 4} rows; .* all equally long"),
        ({"gripper": np.array(["a"] * 5)}, {}, "stream 'gripper' is <U1"),
        ({"depth": np.zeros((5, 8, 8), np.float32)}, {}, r"stream 'depth' is float32 \(5, 8, 8\)"),
        ({}, {"observation.state": ["x"]}, "stream 'observation.state' has 2 dimensions but 1 names"),
    ],
)
def test_streams_that_do_not_fit_are_refused(tmp_path, monkeypatch, changes, names, words):
    monkeypatch.setattr(rerun, "_load_rerun", lambda name="rerun": None)

    with pytest.raises(ValueError, match=words):
        write_rrd(episode() | changes, tmp_path / "episode.rrd", 10, names=names)
    assert list(tmp_path.iterdir()) == []


def test_missing_extra_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)

    with pytest.raises(ValueError, match=r"recordings need 'rerun'; install it with: pip install .*\[viz\]"):
        write_rrd(episode(), tmp_path / "episode.rrd", 10)


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, capfd):
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(NotWrittenError, match=r"a\.rrd: not written \(File too large\); free some space and"):
            write_rrd({"state": np.zeros((2, 3))}, tmp_path / "a.rrd", 10.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
