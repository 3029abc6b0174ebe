"""`tempovla data`: inspect, sample, convert."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests import foreign, libero_recordings, recordings


def test_inspect_says_what_a_dataset_holds(dataset, tempovla):
    facts = json.loads(tempovla("data", "inspect", dataset, "--json").out)
    assert facts["format"] == "v3.0"
    assert (facts["fps"], facts["episodes"], facts["frames"]) == (10, 3, 12 + 7 + 9)
    assert facts["tasks"] == ["task 0", "task 1"]
    state = facts["features"][recordings.STATE]
    assert (state["dtype"], state["shape"], state["names"]) == ("float32", [3], ["x", "y", "z"])
    assert facts["features"][recordings.FRONT]["dtype"] == "video"
    text = tempovla("data", "inspect", dataset).out
    assert "LeRobot v3.0, 10 fps, robot toy" in text
    assert "3 episodes, 28 frames" in text
    assert "32x48x3" in text


def test_sample_writes_windows_and_their_validity(dataset, tmp_path, tempovla):
    out = tmp_path / "new" / "sample.npz"
    windows = [f"{recordings.ACTION}=0:4", f"{recordings.STATE}=-0.2s,0s", f"{recordings.WRIST}=-1,0"]
    options = [word for window in windows for word in ("--window", window)]
    answer = tempovla("data", "sample", dataset, "--episode", 1, "--frame", 5, *options, "--out", out, "--json")
    assert answer.code == 0
    listed = json.loads(answer.out)["arrays"]
    assert listed[recordings.WRIST] == {"shape": [2, 16, 16, 3], "dtype": "uint8"}
    recorded = recordings.episode(1, 7)
    arrays = np.load(out)
    assert set(arrays) == {*listed}
    np.testing.assert_array_equal(arrays["action"][:2], recorded["action"][5:])
    assert arrays["action.valid"].tolist() == [True, True, False, False]
    np.testing.assert_array_equal(arrays[recordings.STATE], recorded[recordings.STATE][[3, 5]])
    np.testing.assert_array_equal(arrays[recordings.WRIST], recorded[recordings.WRIST][4:6])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episode", "9", "--frame", "0", "--window", "action=0"], "no episode 9; it has 3, counted from 0"),
        (["--episode", "1", "--frame", "7", "--window", "action=0"], "no frame 7 in episode 1; it has 7"),
        (["--episode", "1", "--frame", "0", "--window", "acton=0"], "no stream 'acton'; did you mean action"),
        (["--episode", "1", "--frame", "0", "--window", "action"], "write KEY=OFFSETS"),
        (["--episode", "1", "--frame", "0", "--window", "action=x"], "offsets 'x' are not readable"),
        (["--episode", "one", "--frame", "0", "--window", "action=0"], '"episode": expected int, got value: one'),
    ],
)
def test_what_cannot_be_sampled_is_named(dataset, tmp_path, fails, arguments, message):
    assert message in fails("data", "sample", dataset, *arguments, "--out", tmp_path / "sample.npz")
    assert not (tmp_path / "sample.npz").exists()


def test_samples_go_to_npz_files_alone(dataset, fails):
    arguments = ["--episode", "0", "--frame", "0", "--window", "action=0", "--out", "sample.txt"]
    assert fails("data", "sample", dataset, *arguments) == "--out sample.txt must end in .npz"


def test_a_folder_without_a_dataset_is_refused(tmp_path, fails):
    message = fails("data", "inspect", tmp_path)
    assert message.startswith(f"{tmp_path}: not a LeRobot dataset, it has no meta/info.json, nor LIBERO's")


def test_a_missing_and_a_truncated_file_are_named(dataset, tempovla, fails):
    (video,) = (dataset / "videos").rglob("*.mp4")
    video.write_bytes(video.read_bytes()[:500])
    assert str(video) in fails("data", "inspect", dataset)
    video.unlink()  # there is another camera, so this one is left out
    facts = json.loads(tempovla("data", "inspect", dataset, "--json").out)
    assert str(video) in facts["left_out"][recordings.FRONT]
    assert f"left out:\n  {recordings.FRONT}: all of its videos are missing" in tempovla("data", "inspect", dataset).out


def test_convert_writes_v30_and_leaves_the_source(shared_dir, tmp_path, tempovla, fails):
    source, target = shared_dir / "real_lerobot_sample" / "g1_yellow_bottle_v21", tmp_path / "v30"
    answer = tempovla("data", "convert", source, target)
    assert answer.out == f"{target}: 4 episodes\n"
    before, after = (json.loads(tempovla("data", "inspect", root, "--json").out) for root in (source, target))
    assert (before["format"], after["format"]) == ("v2.1", "v3.0")
    for key in ("fps", "episodes", "frames", "tasks"):
        assert before[key] == after[key]
    assert "not empty" in fails("data", "convert", source, target)
    assert tempovla("data", "convert", target, tmp_path / "again").out == f"{tmp_path / 'again'}: 4 episodes\n"


def test_liberos_files_are_inspected_sampled_and_converted(tmp_path, tempovla, fails):
    source, target, out = tmp_path / "libero_object", tmp_path / "v30", tmp_path / "sample.npz"
    recorded = libero_recordings.record(source, size=32, recording={"rendering": "fast"})
    text = tempovla("data", "inspect", source).out
    assert f"{source}: LIBERO's HDF5, 20 fps, robot libero_panda" in text
    assert "3 episodes, 28 frames" in text
    assert f"  {libero_recordings.instruction(libero_recordings.MILK)}\n" in text
    assert "rendering: fast" in text
    options = ["--episode", 1, "--frame", 2, "--window", f"{libero_recordings.AGENT}=0", "--out", out]
    assert tempovla("data", "sample", source, *options).code == 0
    np.testing.assert_array_equal(np.load(out)[libero_recordings.AGENT][0], recorded[1][libero_recordings.AGENT][2])
    assert tempovla("data", "convert", source, target).out == f"{target}: 3 episodes\n"
    facts = json.loads(tempovla("data", "inspect", target, "--json").out)
    assert (facts["format"], facts["frames"], facts["recording"]) == ("v3.0", 28, {"rendering": "fast"})
    (source / "bad.hdf5").write_text("no")
    assert (
        fails("data", "inspect", source)
        == f"{source / 'bad.hdf5'}: not an HDF5 file, or cut off at its start; copy it again"
    )


def test_stats_shows_and_recomputes_them(tmp_path, tempovla, fails):
    root = foreign.write_v30(tmp_path / "set", foreign.Foreign(cameras=()))
    foreign.edit_json(root / "meta/stats.json", lambda stats: stats["action"].update(mean=[1000.0, 0.0]))
    text = tempovla("data", "stats", root).out
    assert "action (as the dataset brings them)" in text
    assert "dimension 0 (a0) has mean 1000" in text
    assert f"`tempovla data stats {root} --recompute`" in text
    facts = json.loads(tempovla("data", "stats", root, "--recompute", "--keys", "action", "--json").out)
    assert list(facts["streams"]) == ["action"]
    assert facts["problems"] == []
    own = np.concatenate([foreign.Foreign().action(0, 6), foreign.Foreign().action(1, 5)]).astype(np.float64)
    np.testing.assert_allclose(facts["streams"]["action"]["statistics"]["q01"], np.quantile(own, 0.01, axis=0))
    assert "action (computed from the data)" in tempovla("data", "stats", root).out
    assert "no stream 'acton'; did you mean action" in fails("data", "stats", root, "--keys", "acton")
