"""Whatever is wrong with LIBERO's files is told in one line, with the file, the demonstration and the remedy."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.libero_recordings import AGENT, MILK, SOUP, WRIST, record

from tempovla.data.errors import DatasetError, refuse_left_out
from tempovla.data.inspection import inspect
from tempovla.data.libero_files import damaged
from tempovla.data.libero_layout import CAMERAS
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.timeline import Window
from tempovla.timeline.keys import ACTION_KEY

NAME = f"{MILK}_demo.hdf5"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with three demonstrations."""
    record(tmp_path, (12, 7, 9), (MILK,))
    return tmp_path / NAME


def edit(path: Path, change: Callable[[h5py.Group], object]) -> None:
    with h5py.File(path, "a") as file:
        change(file["data"])


def replace(demo: h5py.Group, key: str, change: Callable[[np.ndarray], np.ndarray], **storage) -> None:
    values = change(demo[key][()])
    del demo[key]
    demo.create_dataset(key, data=values, **storage)


def refused(path: Path, *needles: str) -> None:
    """Something that reads all of the cameras is refused, and so does `inspect`."""
    with pytest.raises(DatasetError) as caught:
        refuse_left_out(open_source(path.parent).streams, CAMERAS, str(path.parent))
    with pytest.raises(DatasetError) as inspected:
        inspect(path.parent)
    assert str(inspected.value) in str(caught.value)
    message = str(caught.value)
    assert "\n" not in message
    for needle in (str(path), *needles):
        assert needle in message, message


@pytest.mark.parametrize("share", [0.999, 0.5, 0.02])
def test_truncated_file(path: Path, share: float) -> None:
    os.truncate(path, int(share * path.stat().st_size))
    refused(path, "damaged or cut off", "copy it again")


def test_file_that_is_cut_off_at_its_start_or_not_hdf5(path: Path) -> None:
    os.truncate(path, 0)
    refused(path, "not an HDF5 file", "copy it again")
    path.write_text("hello")
    refused(path, "not an HDF5 file")


def test_file_that_shrinks_while_it_is_read(path: Path) -> None:
    source = open_source(path)
    os.truncate(path, 2000)
    with pytest.raises(DatasetError, match=rf"{NAME}: cut off before .*demo_2/obs/agentview_rgb step 8; copy it again"):
        source.read(2, AGENT, [8])


def test_foreign_file(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)
    refused(path, "no group 'data' but ['weights']", "leave it out")


def test_file_without_demonstrations(path: Path) -> None:
    edit(path, lambda data: data.clear())
    refused(path, "no demonstrations")


def test_an_empty_demonstration_is_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def empty(data: h5py.Group) -> None:
        for name in ("actions", *(f"obs/{name}" for name in data["demo_1/obs"])):
            replace(data["demo_1"], name, lambda values: values[:0])

    before = open_source(path)
    told = [before.episode(episode) for episode in range(len(before))]
    edit(path, empty)
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
    kept = [info for info in told if not info.origin.endswith("demo_1")]
    assert [source.episode(i) for i in range(len(source))] == kept
    assert len(kept) == len(told) - 1
    assert f"{path}: 1 of {len(told)} demonstrations have no step" in caplog.text


@pytest.mark.parametrize("camera", ["agentview_rgb", "eye_in_hand_rgb"])
def test_missing_camera(path: Path, camera: str) -> None:
    edit(path, lambda data: data.pop(f"demo_1/obs/{camera}"))
    refused(path, f"demo_1 has no obs/{camera}, only ", "joint_states", "leave the file out")


@pytest.mark.parametrize(
    "change",
    [
        lambda demo: demo.pop("obs/eye_in_hand_rgb"),
        lambda demo: replace(demo, "obs/eye_in_hand_rgb", lambda values: values / 255.0),
        lambda demo: replace(demo, "obs/eye_in_hand_rgb", lambda values: values[:-1]),
        lambda demo: replace(demo, "obs/eye_in_hand_rgb", lambda values: values[:, :8]),
    ],
)
def test_a_camera_that_nobody_reads_blocks_no_other(path: Path, caplog: pytest.LogCaptureFixture, change) -> None:
    before = open_source(path).read(1, AGENT, range(7)).value
    edit(path, lambda data: change(data["demo_1"]))
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
    np.testing.assert_array_equal(source.read(1, AGENT, range(7)).value, before)
    assert "1 of 2 cameras are left out" in caplog.text
    assert WRIST not in source.streams
    with pytest.raises(DatasetError, match=f"{WRIST}' is left out: {path}.*demo_1"):
        source.read(1, WRIST, [0])
    refused(path, "demo_1", "eye_in_hand_rgb")


@pytest.mark.parametrize("key", ["obs/joint_states", "obs/gripper_states", "actions", "obs"])
def test_missing_numbers(path: Path, key: str) -> None:
    edit(path, lambda data: data.pop(f"demo_2/{key}"))
    refused(path, "demo_2 has no ", key)


@pytest.mark.parametrize(
    ("value", "dtype", "told"),
    [(2**24 + 1, np.int64, "16777217"), (-(10**9) - 1, np.int32, "-1000000001"), (1e300, float, "1e+300")],
)
def test_numbers_that_float32_does_not_hold(path: Path, value: float, dtype: type, told: str) -> None:
    edit(path, lambda data: replace(data["demo_1"], "obs/joint_states", lambda rows: np.full(rows.shape, value, dtype)))
    refused(path, "demo_1: obs/joint_states holds ", told, "which is no float32, at step 0; remove the demonstration")


def test_actions_that_are_not_finite(path: Path) -> None:
    edit(path, lambda data: data["demo_1/actions"].__setitem__((4, 2), np.nan))
    refused(path, "demo_1: actions has nan at step 4", "remove the demonstration or repair")


def test_states_that_are_not_finite(path: Path) -> None:
    edit(path, lambda data: data["demo_0/obs/gripper_states"].__setitem__((3, 0), np.inf))
    refused(path, "demo_0: obs/gripper_states has inf at step 3")


def test_actions_of_other_dimensions_in_one_demonstration(path: Path) -> None:
    edit(path, lambda data: replace(data["demo_1"], "actions", lambda values: values[:, :6]))
    refused(path, "demo_1: actions is float64 [7, 6], but 7 numbers for each step are needed", "record it again")


def test_actions_of_other_dimensions_in_another_file(path: Path) -> None:
    record(path.parent / "other", (5,), (SOUP,))
    other = (path.parent / "other" / f"{SOUP}_demo.hdf5").rename(path.parent / f"{SOUP}_demo.hdf5")
    edit(other, lambda data: replace(data["demo_0"], "actions", lambda values: np.tile(values, 2)))
    refused(other, "demo_0: actions is float64 [5, 14], but 7")


@pytest.mark.parametrize("key", ["obs/joint_states", "obs/agentview_rgb"])
def test_streams_of_unequal_lengths(path: Path, key: str) -> None:
    edit(path, lambda data: replace(data["demo_1"], key, lambda values: values[:-2]))
    refused(path, f"demo_1: {key} has 5 steps, but there are 7 actions", "remove the demonstration")


def test_pictures_that_are_none(path: Path) -> None:
    edit(path, lambda data: replace(data["demo_1"], "obs/agentview_rgb", lambda values: values / 255.0))
    refused(path, "demo_1: obs/agentview_rgb is float64 [7, 16, 16, 3], not uint8 RGB")


def test_pictures_of_two_sizes(path: Path) -> None:
    record(path.parent / "other", (5,), (SOUP,), size=24)
    (path.parent / "other" / f"{SOUP}_demo.hdf5").rename(path.parent / f"{SOUP}_demo.hdf5")
    refused(path, "demo_0 has /data/demo_0/obs/agentview_rgb of height and width [16, 16]", "[24, 24]", "one size")


def test_unreadable_problem_info(path: Path) -> None:
    edit(path, lambda data: data.attrs.__setitem__("problem_info", '{"language'))
    refused(path, "attribute 'problem_info' of 'data': not readable as JSON", "delete the attribute")


def test_packed_pictures_that_are_damaged(path: Path) -> None:
    def pack(data: h5py.Group) -> None:
        replace(data["demo_1"], "obs/agentview_rgb", lambda v: v, chunks=(1, 16, 16, 3), compression="gzip")

    edit(path, pack)
    with h5py.File(path) as file:
        info = file["data/demo_1/obs/agentview_rgb"].id.get_chunk_info(3)
    with path.open("r+b") as file:
        file.seek(info.byte_offset)
        file.write(bytes(info.size))
    source = open_source(path)
    source.read(1, AGENT, [0, 1, 2])
    with pytest.raises(DatasetError, match=rf"{NAME}: /data/demo_1/obs/agentview_rgb near step 3: damaged .*; copy it"):
        source.read(1, AGENT, [3])


def test_loaders_tell_it_in_one_line_from_workers_too(path: Path) -> None:
    source = open_source(path)
    path.unlink()
    loader = SampleLoader(
        Mixture([source]), [Window(AGENT, (0,))], LoaderConfig(4, num_workers=1, preload_bytes=0), seed=0
    )
    with pytest.raises(DatasetError, match=rf"{NAME}: not readable \(No such file or directory\); copy the dataset"):
        next(iter(loader))


def test_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"not a LeRobot dataset.*nor LIBERO's, it has no \*\.hdf5"):
        open_source(tmp_path)
    with pytest.raises(DatasetError, match=r"nowhere: no such file or folder; .*LIBERO"):
        open_source(tmp_path / "nowhere")
    record(tmp_path / "libero_object", (5,))
    with pytest.raises(DatasetError, match=r"no \*\.hdf5 in this folder; give .*libero_object$"):
        open_source(tmp_path)


def test_an_episode_shorter_than_the_window_opens_and_is_invalid_beyond_its_end(tmp_path: Path) -> None:
    record(tmp_path, (2,))
    loader = SampleLoader(
        Mixture([open_source(tmp_path)]), [Window(ACTION_KEY, tuple(range(10)))], LoaderConfig(2), seed=0
    )
    valid = next(iter(loader)).future[ACTION_KEY].valid
    assert sorted(valid.sum(1).tolist()) == [1, 2]


def test_names_and_types_that_no_text_or_number_has(path: Path) -> None:
    edit(path, lambda data: data.create_group(b"demo_\xff"))
    assert len(open_source(path.parent)) == 3
    edit(path, lambda data: data["demo_1"].create_group(b"\xff"))
    edit(path, lambda data: data["demo_1"].pop("actions"))
    refused(path, "demo_1 has no actions, only ")


def test_demonstrations_that_are_no_groups(path: Path) -> None:
    def flatten(data: h5py.Group) -> None:
        del data["demo_1"]
        data["demo_1"] = np.zeros(3)

    edit(path, flatten)
    refused(path, "demo_1 is no group", "leave the file out")


def test_observations_that_are_no_group(path: Path) -> None:
    def flatten(data: h5py.Group) -> None:
        del data["demo_1/obs"]
        data["demo_1/obs"] = np.zeros(3)

    edit(path, flatten)
    refused(path, "demo_1 has no obs/joint_states", "leave the file out")


def test_damage_without_words() -> None:
    assert str(damaged(Path("a.hdf5"), OSError())) == "a.hdf5: damaged or cut off (OSError); copy it again"


def test_an_instruction_that_is_null_is_taken_from_the_files_name(path: Path) -> None:
    edit(path, lambda data: data.attrs.__setitem__("problem_info", '{"language_instruction": null}'))
    assert open_source(path).episode(0).instruction == MILK.replace("_", " ")


def test_recordings_that_are_none(path: Path) -> None:
    edit(path, lambda data: data.attrs.__setitem__("env_args", '{"tempovla": "fast"}'))
    refused(path, "env_args", "tempovla")
    edit(path, lambda data: data.attrs.__setitem__("env_args", "[]"))
    with pytest.raises(DatasetError, match="not written here"):
        LiberoHdf5Writer(path.parent, resume=True)


@pytest.mark.parametrize("key", ["actions", "obs/joint_states", f"obs/{AGENT.split('.')[-1]}"])
def test_datasets_without_a_shape(path: Path, key: str) -> None:
    def empty(data: h5py.Group) -> None:
        del data[f"demo_1/{key}"]
        data[f"demo_1/{key}"] = h5py.Empty("u1")

    edit(path, empty)
    refused(path, f"demo_1: {key} is empty", "record it again")


def test_states_that_are_no_numbers_tell_nothing(path: Path) -> None:
    edit(path, lambda data: replace(data["demo_0"], "states", lambda _: np.array([[b"x"] * 20] * 12)))
    assert open_source(path).episode(0).length == 12


@pytest.mark.parametrize(
    "change",
    [
        lambda demo: replace(demo, "obs/ee_pos", lambda values: values * np.nan),
        lambda demo: replace(demo, "obs/ee_ori", lambda values: values[:, :2]),
        lambda demo: replace(demo, "obs/ee_pos", lambda values: values[:-1]),
    ],
)
def test_numbers_that_no_policy_needs_block_none(path: Path, caplog: pytest.LogCaptureFixture, change) -> None:
    edit(path, lambda data: change(data["demo_1"]))
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
    assert "1 of 5 streams of numbers are left out: observation.ee_state" in caplog.text
    assert source.read(1, ACTION_KEY, [0]).value.shape == (1, 7)
    assert "demo_1: obs/ee_" in inspect(path.parent)["left_out"]["observation.ee_state"]
    with pytest.raises(DatasetError, match=r"ee_state' is left out: .*demo_1: obs/ee_"):
        source.read(1, "observation.ee_state", [0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda values: values * np.nan, "demo_1: rewards has nan at step 0; remove the demonstration or repair"),
        (lambda values: values[:-1], r"demo_1: rewards is uint8 \[6\], but one number for each of 7 steps is needed"),
        (lambda values: values.astype("S1"), r"demo_1: rewards is \|S1 \[7\], but one number for each of 7 steps"),
    ],
)
def test_rewards_that_are_none_block_no_policy(path: Path, change, reason: str) -> None:
    edit(path, lambda data: replace(data["demo_1"], "rewards", change))
    source = open_source(path)
    assert source.read(1, ACTION_KEY, [0]).value.shape == (1, 7)
    with pytest.raises(DatasetError, match=f"next.reward' is left out: .*{reason}"):
        source.read(1, "next.reward", [0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.bytes_('{"language_instruction": "öffne"}'.encode("latin-1")), "'problem_info' of 'data' is .*not UTF-8"),
        ('{"language_instruction": {"en": "open"}}', "language_instruction {'en': 'open'}, no text; write the"),
        ('{"language_instruction": ["open", 3]}', r"language_instruction \['open', 3\], no text; write the"),
        ('{"language_instruction": "open \\ud83d"}', "holds half a character, in .*ud83d"),
        ("[" * 60_000, "not readable as JSON"),
    ],
)
def test_words_that_are_none_are_refused(path: Path, given, message: str) -> None:
    edit(path, lambda data: data.attrs.pop("problem_info"))
    edit(path, lambda data: data.attrs.create("problem_info", given))
    with pytest.raises(DatasetError, match=message):
        open_source(path)


def test_an_attribute_may_be_an_array_of_one(path: Path) -> None:
    words = np.array(['{"language_instruction": "open it"}'], dtype=h5py.string_dtype())
    edit(path, lambda data: data.attrs.create("problem_info", words))
    assert open_source(path).episode(0).instruction == "open it"
