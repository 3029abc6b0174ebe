"""Files in LIBERO's layout: what is in them, and that a killed writer loses nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.libero_recordings import AGENT, MILK, SOUP, WRIST, episode, extras, instruction, record

from tempovla.data.errors import DatasetError
from tempovla.data.files import Staging
from tempovla.data.libero_layout import EE_STATE_KEY
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the writer may catch it."""


def test_layout_is_liberos_own(tmp_path: Path) -> None:
    frames, _, _ = record(tmp_path, (12, 7, 9), (MILK,), recording={"rendering": "fast"})
    with h5py.File(tmp_path / f"{MILK}_demo.hdf5", "r") as file:
        data = file["data"]
        assert sorted(data) == ["demo_0", "demo_1", "demo_2"]
        assert (data.attrs["num_demos"], data.attrs["total"]) == (3, 28)
        assert data.attrs["macros_image_convention"] == "opengl"
        assert data.attrs["tag"] == "libero-v1"
        assert data.attrs["env_name"] == "Libero_Floor_Manipulation"
        assert data.attrs["bddl_file_name"] == f"bddl_files/libero_object/{MILK}.bddl"
        problem = json.loads(data.attrs["problem_info"])
        assert problem == {
            "problem_name": "libero_floor_manipulation",
            "domain_name": "robosuite",
            "language_instruction": instruction(MILK),
        }
        env_args = json.loads(data.attrs["env_args"])
        assert env_args["type"] == 1
        assert env_args["env_kwargs"] == {"robots": ["Panda"], "control_freq": 20}
        assert env_args["tempovla"] == {"rendering": "fast"}
        demo = data["demo_0"]
        assert demo.attrs["num_samples"] == 12
        assert demo.attrs["model_file"] == "<mujoco/>"
        np.testing.assert_array_equal(demo.attrs["init_state"], demo["states"][0])
        np.testing.assert_array_equal(demo["actions"][()], frames[ACTION_KEY].astype(np.float64))
        assert demo["actions"].dtype == demo["obs/joint_states"].dtype == np.float64
        np.testing.assert_array_equal(demo["rewards"][()], [0] * 11 + [1])
        np.testing.assert_array_equal(demo["dones"][()], [0] * 11 + [1])
        obs = demo["obs"]
        joined = np.concatenate([obs["joint_states"][()], obs["gripper_states"][()]], axis=1)
        np.testing.assert_array_equal(joined, frames[STATE_KEY].astype(np.float64))
        np.testing.assert_array_equal(obs["ee_states"][:, :3], obs["ee_pos"][()])
        np.testing.assert_array_equal(obs["ee_states"][:, 3:], obs["ee_ori"][()])
        assert demo["robot_states"].shape == (12, 9)
        assert demo["states"].shape == (12, 4)


def test_what_was_executed_lies_beside_what_was_wanted(tmp_path: Path) -> None:
    frames = episode(0)
    executed = frames[ACTION_KEY] * 0.5
    with LiberoHdf5Writer(tmp_path) as writer:
        writer.add_episode(MILK, instruction(MILK), frames, replace(extras(12), executed=executed))
        with pytest.raises(DatasetError, match="7 executed actions for 12 steps; give one for each step"):
            writer.add_episode(MILK, instruction(MILK), frames, replace(extras(12), executed=executed[:7]))
    with h5py.File(tmp_path / f"{MILK}_demo.hdf5", "r") as file:
        np.testing.assert_array_equal(file["data/demo_0/executed_actions"], executed)
        np.testing.assert_array_equal(file["data/demo_0/actions"], frames[ACTION_KEY])


def test_pictures_are_stored_with_the_bottom_row_first(tmp_path: Path) -> None:
    (frames,) = record(tmp_path, (5,), (MILK,))
    with h5py.File(tmp_path / f"{MILK}_demo.hdf5", "r") as file:
        for key, name in ((AGENT, "agentview_rgb"), (WRIST, "eye_in_hand_rgb")):
            stored = file[f"data/demo_0/obs/{name}"]
            assert stored.dtype == np.uint8
            np.testing.assert_array_equal(stored[()], frames[key][:, ::-1])


def test_robot_states_hold_fingers_hand_and_quaternion(tmp_path: Path) -> None:
    frames = episode(0, 3)
    frames[EE_STATE_KEY][:] = 0
    frames[EE_STATE_KEY][1, 3:] = (np.pi, 0, 0)
    frames[EE_STATE_KEY][2, 3:] = (0, 0, -np.pi / 2)
    with LiberoHdf5Writer(tmp_path) as writer:
        writer.add_episode(MILK, instruction(MILK), frames)
    with h5py.File(tmp_path / f"{MILK}_demo.hdf5", "r") as file:
        states = file["data/demo_0/robot_states"][()]
    np.testing.assert_allclose(states[:, :2], frames[STATE_KEY][:, 7:])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(states[:, 5:], [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, -half, half]], atol=1e-6)


def test_resumes_where_it_was(tmp_path: Path) -> None:
    record(tmp_path, (12, 7, 9))
    with LiberoHdf5Writer(tmp_path, resume=True) as writer:
        assert (writer.episodes_written(SOUP), writer.episodes_written(MILK)) == (2, 1)
        assert writer.add_episode(SOUP, instruction(SOUP), episode(5), extras(12)) == 2
    with h5py.File(tmp_path / f"{SOUP}_demo.hdf5", "r") as file:
        assert sorted(file["data"]) == ["demo_0", "demo_1", "demo_2"]
        assert (file["data"].attrs["num_demos"], file["data"].attrs["total"]) == (3, 12 + 9 + 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{SOUP}_demo.hdf5", f"{MILK}_demo.hdf5"])


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        (lambda frames: frames.pop(WRIST), "'observation.images.eye_in_hand_rgb' is missing"),
        (lambda frames: frames.update(depth=frames[STATE_KEY]), "'depth' is no stream of this layout"),
        (lambda frames: frames.update({ACTION_KEY: frames[ACTION_KEY][:, :6]}), r"has shape \[12, 6\], not \[12, 7\]"),
        (lambda frames: frames.update({STATE_KEY: frames[STATE_KEY][:9]}), r"has shape \[9, 9\], not \[12, 9\]"),
        (lambda frames: frames.update({AGENT: frames[AGENT] / 255.0}), "give uint8 RGB"),
        (lambda frames: frames[ACTION_KEY].__setitem__((4, 1), np.nan), "is not finite at step 4"),
        (lambda frames: frames.update({ACTION_KEY: np.full((12, 7), 1e300)}), r"holds 1e\+300, which is no float32"),
        (lambda frames: frames.update({STATE_KEY: np.full((12, 9), 2**24 + 1)}), "16777217, which is no float32"),
        (lambda frames: frames.update({ACTION_KEY: np.full((12, 7), None)}), "is object, which holds no real numbers"),
        (
            lambda frames: frames.update({ACTION_KEY: frames[ACTION_KEY].tolist()}),
            "is of type list; give a numpy array",
        ),
        (lambda frames: frames.update({key: rows[:0] for key, rows in frames.items()}), "the episode has no step"),
    ],
)
def test_refuses_what_is_no_episode(tmp_path: Path, change, needle: str) -> None:
    frames = episode(0)
    change(frames)
    writer = LiberoHdf5Writer(tmp_path)
    with pytest.raises(DatasetError, match=needle) as caught:
        writer.add_episode(MILK, instruction(MILK), frames)
    assert f"{MILK}_demo.part-00000.hdf5: demo_0" in str(caught.value)
    assert writer.episodes_written(MILK) == 0


@pytest.mark.parametrize("words", [None, "half \ud83d", "x" * 10**6])
def test_instructions_that_no_reader_takes_are_refused_before_anything_is_written(tmp_path: Path, words) -> None:
    with LiberoHdf5Writer(tmp_path) as writer:
        with pytest.raises(DatasetError, match=r"demo_0: .*instruction"):
            writer.add_episode(MILK, words, episode(0))
        for task in ("", "a/b", "a\0b", None):
            with pytest.raises(DatasetError, match="cannot be part of a file's name; rename it"):
                writer.add_episode(task, "go", episode(0))
        assert not list(tmp_path.glob("*.hdf5"))


def test_simulator_states_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with LiberoHdf5Writer(tmp_path) as writer:
        for states, needle in (
            (np.full((12, 4), np.nan), "not finite"),
            ([[0.0]] * 12, "list"),
            (1j * np.ones(12), "real"),
        ):
            with pytest.raises(DatasetError, match=f"'simulator states' is .*{needle}"):
                writer.add_episode(MILK, "go", episode(0), replace(extras(12), states=states))


def test_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    record(tmp_path, (4,), recording={"rendering": "fast"})
    with pytest.raises(DatasetError, match="not empty"):
        LiberoHdf5Writer(tmp_path)
    with pytest.raises(DatasetError, match=r'recorded with {"rendering": "fast"}, not {"rendering": "exact"}'):
        LiberoHdf5Writer(tmp_path, recording={"rendering": "exact"}, resume=True)
    with h5py.File(tmp_path / "deep_demo.hdf5", "w") as file:
        file.create_group("data").attrs["env_args"] = "[" * 20_000
    with pytest.raises(DatasetError, match=r"deep_demo\.hdf5: not written here \(env_args is not readable .* deep\)"):
        LiberoHdf5Writer(tmp_path, recording={"rendering": "fast"}, resume=True)
    (tmp_path / "deep_demo.hdf5").unlink()
    (tmp_path / "foreign_demo.hdf5").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=r"foreign_demo\.hdf5: not written here"):
        LiberoHdf5Writer(tmp_path, recording={"rendering": "fast"}, resume=True)


def demos(folder: Path) -> dict[str, set[str]]:
    """Demonstrations by task that the files hold, whoever reads them; each file must be sound."""
    found: dict[str, set[str]] = {}
    for path in folder.glob("*.hdf5"):
        with h5py.File(path, "r") as file:
            assert file["data"].attrs["num_demos"] == len(file["data"])
            for name, demo in file["data"].items():
                number = int(name.removeprefix("demo_"))
                expected = episode(number, 6)
                np.testing.assert_array_equal(demo["obs/agentview_rgb"][()], expected[AGENT][:, ::-1])
                np.testing.assert_array_equal(demo["actions"][()], expected[ACTION_KEY])
                found.setdefault(path.name.split("_demo")[0], set()).add(name)
    return found


def write(folder: Path, episodes: int = 3) -> None:
    with LiberoHdf5Writer(folder, resume=True) as writer:
        for task in (SOUP, MILK):
            while (number := writer.episodes_written(task)) < episodes:
                writer.add_episode(task, instruction(task), episode(number, 6), extras(6))


def test_killed_at_any_change_of_the_disk_the_files_are_sound_and_go_on(tmp_path: Path) -> None:
    moment, finished = 0, False
    while not finished:
        folder, done = tmp_path / str(moment), []

        def guarded(method, moment=moment, done=done):
            def call(self, *arguments, **more):
                if len(done) == moment:
                    raise Killed
                done.append(method.__name__)
                return method(self, *arguments, **more)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "unlink", "rmdir"):
                patch.setattr(Path, name, guarded(getattr(Path, name)))
            try:
                write(folder, 2)
                finished = True
            except Killed:
                pass
        assert sum(len(names) for names in demos(folder).values()) >= min(moment, 4)
        write(folder, 3)
        assert demos(folder) == {task: {"demo_0", "demo_1", "demo_2"} for task in (SOUP, MILK)}
        assert len(list(folder.iterdir())) == 2
        moment += 1
    assert moment > 10


@pytest.mark.slow
def test_kill_minus_nine_at_random_moments(tmp_path: Path) -> None:
    script = tmp_path / "record.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from pathlib import Path
        from tests.unit.data.test_libero_writer import write

        for episodes in range(int(sys.argv[2]), 1000):
            write(Path(sys.argv[1]), episodes)
            print(episodes, flush=True)
        """)
    )
    folder = tmp_path / "set"
    repository = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"}
    generator = np.random.default_rng(0)
    episodes = 1
    for _ in range(3):
        command = [sys.executable, str(script), str(folder), str(episodes)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(float(generator.uniform(0, 0.2)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        finished = episodes + len(process.communicate()[0].split())
        found = demos(folder)
        for task in (SOUP, MILK):
            assert finished <= len(found[task]) <= finished + 1
        episodes = min(map(len, found.values()))


def test_full_disk_costs_only_the_episode_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LiberoHdf5Writer(tmp_path)
    writer.add_episode(SOUP, instruction(SOUP), episode(0, 6))
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "publish", _raise_no_space)
        with pytest.raises(DatasetError, match="the disk is full, while writing") as caught:
            writer.add_episode(SOUP, instruction(SOUP), episode(1, 6))
    assert "\n" not in str(caught.value)
    writer.add_episode(SOUP, instruction(SOUP), episode(1, 6))
    writer.close()
    assert demos(tmp_path) == {SOUP: {"demo_0", "demo_1"}}


def _raise_no_space(self, staged, target):
    raise OSError(errno.ENOSPC, "No space left on device", str(target))
