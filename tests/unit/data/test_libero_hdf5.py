"""LIBERO's files are read as they are: instructions, order, orientation, storage, statistics, processes."""

import dataclasses
import json
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.foreign import Foreign, write_v21
from tests.libero_recordings import AGENT, MILK, SOUP, WRIST, assert_equal_to, episode, instruction, only_file, record

from tempovla.data import libero_frames
from tempovla.data.byte_cache import ByteCache
from tempovla.data.errors import DatasetError, OutOfRangeError, UnknownStreamError
from tempovla.data.fingerprint import dataset_fingerprint
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.libero_hdf5 import LiberoHdf5Source, open_libero
from tempovla.data.libero_layout import EE_STATE_KEY
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.statistics import of_values
from tempovla.timeline import Window
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, REWARD_KEY, STATE_KEY, SUCCESS_KEY


def test_what_was_recorded_is_read_in_the_order_of_files_and_numbers(tmp_path: Path) -> None:
    recorded = record(tmp_path, (4,) * 22 + (6,))
    source = open_libero(tmp_path)
    assert_equal_to(source, recorded)  # 12 demonstrations of a task: demo_10 comes after demo_9
    assert [source.episode(i).instruction for i in (0, 11, 12, 22)] == [
        instruction(SOUP),
        instruction(SOUP),
        instruction(MILK),
        instruction(MILK),
    ]
    assert source.rate_hz == 20.0
    assert source.embodiment == LIBERO_PANDA
    assert {key: stream.shape for key, stream in source.streams.items()} == {
        STATE_KEY: (9,),
        EE_STATE_KEY: (6,),
        ACTION_KEY: (7,),
        AGENT: (16, 16, 3),
        WRIST: (16, 16, 3),
        REWARD_KEY: (1,),
        DONE_KEY: (1,),
    }
    np.testing.assert_allclose(source.timestamps(11, AGENT), np.arange(6) / 20)


def test_law_8_training_sees_the_picture_that_was_recorded_and_the_file_holds_it_upside_down(tmp_path: Path) -> None:
    (frames,) = record(tmp_path, (5,), (MILK,))
    sample = next(iter(SampleLoader(Mixture([open_libero(tmp_path)]), [Window(AGENT, (0,))], LoaderConfig(5), seed=0)))
    seen = {picture.tobytes() for picture in sample.context.now[AGENT].value[:, 0].numpy()}
    assert seen == {picture.tobytes() for picture in frames[AGENT]}
    with h5py.File(only_file(tmp_path)) as file:
        np.testing.assert_array_equal(file["data/demo_0/obs/agentview_rgb"][3], np.flipud(frames[AGENT][3]))


def test_pictures_of_the_other_convention_are_taken_as_they_are(tmp_path: Path) -> None:
    (frames,) = record(tmp_path, (5,), (MILK,))
    with h5py.File(only_file(tmp_path), "a") as file:
        file["data"].attrs["macros_image_convention"] = "opencv"
    np.testing.assert_array_equal(open_libero(tmp_path).read(0, AGENT, [2]).value[0], np.flipud(frames[AGENT][2]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet", "close the top drawer of the cabinet"),
        ("LIVING_ROOM_SCENE2_put_both_the_soup_in_the_basket", "put both the soup in the basket"),
        ("open_the_middle_drawer", "open the middle drawer"),
    ],
)
def test_without_problem_info_the_file_name_tells_the_instruction(tmp_path: Path, name: str, words: str) -> None:
    record(tmp_path, (5, 4), (name,))
    path = only_file(tmp_path)
    assert open_libero(path).episode(0).instruction == name.replace("_", " ")  # as recorded
    with h5py.File(path, "a") as file:
        del file["data"].attrs["problem_info"]
    assert open_libero(path).episode(1).instruction == words
    assert open_libero(path.rename(tmp_path / f"{name}.hdf5")).episode(0).instruction == words


@pytest.mark.parametrize("words", ['"open the drawer"', ["open", "the", "drawer"]])
def test_instructions_in_quotes_or_single_words(tmp_path: Path, words) -> None:
    record(tmp_path, (5,), (MILK,))
    with h5py.File(only_file(tmp_path), "a") as file:
        file["data"].attrs["problem_info"] = np.bytes_(json.dumps({"language_instruction": words}))
    assert open_libero(tmp_path).episode(0).instruction == "open the drawer"


@pytest.mark.parametrize(
    "storage",
    [
        {"chunks": (1, 24, 24, 3), "compression": "gzip"},
        {"chunks": (4, 8, 24, 1), "compression": "lzf", "shuffle": True},
        {"chunks": True},
        {},
    ],
)
def test_any_storage_and_size_of_pictures_is_read(tmp_path: Path, storage: dict) -> None:
    recorded = record(tmp_path, (9, 6), (MILK,), size=24)
    with h5py.File(only_file(tmp_path), "a") as file:
        for demo in file["data"].values():
            values = demo["obs/agentview_rgb"][()]
            del demo["obs/agentview_rgb"]
            demo["obs"].create_dataset("agentview_rgb", data=values, **storage)
    assert_equal_to(open_libero(tmp_path), recorded)
    small = open_libero(tmp_path, cache_bytes=0)
    np.testing.assert_array_equal(small.read(1, AGENT, [5, 0, 5]).value, recorded[1][AGENT][[5, 0, 5]])


def test_files_with_a_user_block_are_read(tmp_path: Path) -> None:
    recorded = record(tmp_path / "set", (9,), (MILK,))
    path = tmp_path / f"{MILK}_demo.hdf5"
    with h5py.File(path, "w", userblock_size=1024) as file, h5py.File(only_file(tmp_path / "set")) as other:
        other.copy("data", file)
    assert_equal_to(open_libero(path), recorded)


def test_a_stream_that_only_some_demonstrations_have_is_left_out(tmp_path: Path) -> None:
    record(tmp_path, (5, 4), (MILK,))
    with h5py.File(only_file(tmp_path), "a") as file:
        del file["data/demo_1/obs/ee_ori"]
    source = open_libero(tmp_path)
    assert EE_STATE_KEY not in source.streams
    with pytest.raises(UnknownStreamError, match=r"ee_state'; did you mean observation\.state"):
        source.read(0, EE_STATE_KEY, [0])


def test_rewards_and_ends_are_read_under_their_keys(tmp_path: Path) -> None:
    record(tmp_path, (3,), (MILK,))
    source = open_libero(tmp_path)
    assert (source.streams[REWARD_KEY].kind, source.streams[REWARD_KEY].dtype) == ("scalar", "float32")
    assert (source.streams[DONE_KEY].kind, source.streams[DONE_KEY].dtype) == ("scalar", "bool")
    assert source.read(0, REWARD_KEY, range(4)).value.tolist() == [[0.0], [0.0], [1.0], [1.0]]
    assert source.read(0, DONE_KEY, range(4)).value.tolist() == [[False], [False], [True], [True]]
    assert source.read(0, DONE_KEY, range(4)).valid.tolist() == [True, True, True, False]
    assert SUCCESS_KEY not in source.streams
    sample = next(iter(SampleLoader(Mixture([source]), [Window(REWARD_KEY, (-1, 0))], LoaderConfig(), seed=0)))
    assert sample.context.past[REWARD_KEY].offset.tolist() == [-1]
    assert REWARD_KEY not in sample.context.now
    assert sample.future[REWARD_KEY].offset.tolist() == [0]


def test_rewards_that_were_given_are_written_and_read(tmp_path: Path) -> None:
    outcomes = {REWARD_KEY: np.array([[0.0], [0.25], [1.0], [1.0]], np.float32), DONE_KEY: np.eye(4, dtype=bool)[:, 3:]}
    with LiberoHdf5Writer(tmp_path) as writer:
        writer.add_episode(MILK, instruction(MILK), episode(0, 4) | outcomes)
    assert_equal_to(open_libero(tmp_path), [episode(0, 4) | outcomes])


def test_rewards_that_only_some_demonstrations_have_are_left_out(tmp_path: Path) -> None:
    record(tmp_path, (5, 4), (MILK,))
    with h5py.File(only_file(tmp_path), "a") as file:
        del file["data/demo_1/rewards"]
    source = open_libero(tmp_path)
    assert REWARD_KEY not in source.streams
    assert DONE_KEY in source.streams


def test_a_datas_identity_knows_its_rewards_only_where_they_are_read(tmp_path: Path) -> None:
    """So that a run of before they were read can be resumed."""
    record(tmp_path, (5,), (MILK,))
    source = open_libero(tmp_path)
    other = open_libero(tmp_path)
    other._demos[0] = dataclasses.replace(
        other._demos[0], numbers={**other._demos[0].numbers, REWARD_KEY: np.ones((5, 1), np.float32)}
    )
    assert source.identity([STATE_KEY]).files == other.identity([STATE_KEY]).files
    assert source.identity([REWARD_KEY]).files != other.identity([REWARD_KEY]).files


def test_windows_beyond_the_ends_are_clamped_and_invalid(tmp_path: Path) -> None:
    (frames,) = record(tmp_path, (3,), (MILK,))  # shorter than the window
    source = open_libero(tmp_path)
    for key in (ACTION_KEY, AGENT):
        value, valid = source.read(0, key, range(-2, 8))
        assert valid.tolist() == [False, False, True, True, True, False, False, False, False, False]
        np.testing.assert_array_equal(value, frames[key][[0, 0, 0, 1, 2, 2, 2, 2, 2, 2]])
    with pytest.raises(OutOfRangeError, match="no episode 1; it has 1"):
        source.read(1, AGENT, [0])


def test_statistics_are_exact_and_of_numbers_alone(tmp_path: Path) -> None:
    recorded = record(tmp_path, (12, 7, 9))
    source = open_libero(tmp_path)
    assert set(source.statistics) == {STATE_KEY, EE_STATE_KEY, ACTION_KEY, REWARD_KEY, DONE_KEY}
    expected = of_values(np.concatenate([frames[ACTION_KEY] for frames in recorded]))
    for name, value in expected.items():
        np.testing.assert_allclose(source.statistics[ACTION_KEY][name], value)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".hdf5", ".hdf5"]  # nothing is left beside the data


def test_episodes_of_a_writer_that_was_killed_are_read_once(tmp_path: Path) -> None:
    recorded = [episode(index, 5) for index in range(3)]
    writer = LiberoHdf5Writer(tmp_path)
    for frames in recorded[:2]:
        writer.add_episode(MILK, instruction(MILK), frames)
    stale = {path: path.read_bytes() for path in tmp_path.glob("*.part-*")}
    assert_equal_to(open_libero(tmp_path), recorded[:2])
    writer.close()
    for path, content in stale.items():  # killed after joining, before these were removed
        path.write_bytes(content)
    writer.add_episode(MILK, instruction(MILK), recorded[2])
    assert_equal_to(open_libero(tmp_path), recorded)


def test_several_files_of_one_task_are_read(tmp_path: Path) -> None:
    first = record(tmp_path / "a", (5, 4), (MILK,))
    second = record(tmp_path / "b", (6,), (MILK,))
    only_file(tmp_path / "a").rename(tmp_path / f"{MILK}_demo.hdf5")
    only_file(tmp_path / "b").rename(tmp_path / f"{MILK}_more_demo.hdf5")
    source = open_libero(tmp_path)
    assert_equal_to(source, first + second)
    assert {source.episode(i).instruction for i in range(3)} == {instruction(MILK)}


def test_recording_is_what_all_files_agree_on(tmp_path: Path) -> None:
    record(tmp_path, (5,), (MILK,), recording={"rendering": "fast", "image_size": 16})
    assert open_libero(tmp_path).recording == {"rendering": "fast", "image_size": 16}
    record(tmp_path / "b", (6,), (SOUP,), recording={"rendering": "exact", "image_size": 16})
    only_file(tmp_path / "b").rename(tmp_path / f"{SOUP}_demo.hdf5")
    assert open_libero(tmp_path).recording == {"image_size": 16}


def test_sources_travel_to_other_processes(tmp_path: Path) -> None:
    recorded = record(tmp_path, (6, 4), (MILK,))
    source = open_libero(tmp_path)
    source.read(0, AGENT, [0])
    assert_equal_to(pickle.loads(pickle.dumps(source)), recorded)
    assert_equal_to(source.with_cache(ByteCache(0)), recorded)
    assert_equal_to(source, recorded)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_loader_workers_read_what_one_process_reads(tmp_path: Path, compression: str | None) -> None:
    record(tmp_path, (12, 7, 9))
    if compression:
        for path in tmp_path.glob("*.hdf5"):
            with h5py.File(path, "a") as file:
                for demo in file["data"].values():
                    values = demo["obs/agentview_rgb"][()]
                    del demo["obs/agentview_rgb"]
                    demo["obs"].create_dataset("agentview_rgb", data=values, compression=compression)
    source = open_libero(tmp_path)
    source.read(0, AGENT, range(12))  # files are open when the workers are forked
    windows = [Window(AGENT, (-1, 0)), Window(ACTION_KEY, (0, 1, 2))]
    batches = []
    for workers, preload_bytes in ((0, 0), (2, 0), (0, 1 << 30)):
        config = LoaderConfig(8, workers, preload_bytes)
        batches.append(list(SampleLoader(Mixture([source]), windows, config, seed=1, epochs=1)))
    for others in batches[1:]:
        for a, b in zip(batches[0], others, strict=True):
            assert (a.context.now[AGENT].value == b.context.now[AGENT].value).all()
            assert (a.future[ACTION_KEY].value == b.future[ACTION_KEY].value).all()


def test_preloaded_pictures_are_the_same(tmp_path: Path) -> None:
    recorded = record(tmp_path, (6, 4), (MILK,))
    fast = preload(open_libero(tmp_path), [AGENT, ACTION_KEY], 1 << 30)
    assert not isinstance(fast, LiberoHdf5Source)
    np.testing.assert_array_equal(fast.read(1, AGENT, range(4)).value, recorded[1][AGENT])


def test_a_file_that_this_process_has_open_is_read(tmp_path: Path) -> None:
    recorded = record(tmp_path, (6, 4), (MILK,))
    with h5py.File(only_file(tmp_path), "r"):
        assert_equal_to(open_libero(tmp_path), recorded)


def test_demonstrations_of_one_number_are_all_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    recorded = record(tmp_path, (4, 5, 6), (MILK,))
    with h5py.File(only_file(tmp_path), "a") as file:
        file["data"].move("demo_0", "demo_01")
    source = open_libero(tmp_path)
    assert [source.episode(i).origin.split(": ")[-1] for i in range(3)] == ["demo_01", "demo_1", "demo_2"]
    assert_equal_to(source, recorded)


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ('say "hi"', 'say "hi"'),
        ('"hi" is what to say', '"hi" is what to say'),
        ('"hi" or "ho"', '"hi" or "ho"'),
        (' "pick it up" ', "pick it up"),
        ('""', instruction(MILK)),
    ],
)
def test_only_a_pair_of_quotes_around_the_whole_instruction_is_left_out(tmp_path: Path, stored: str, told: str) -> None:
    with LiberoHdf5Writer(tmp_path) as writer:
        writer.add_episode(MILK, stored, episode(0, 3))
    assert open_libero(tmp_path).episode(0).instruction == told


def test_many_files_do_not_exhaust_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libero_frames, "_MOST_OPEN_FILES", 8)
    record(tmp_path, (1,) * 12, tuple(f"task_{i}" for i in range(12)), size=4)
    source = open_libero(tmp_path)
    for index in range(12):
        source.read(index, AGENT, [0])
    descriptors = [entry.path for entry in os.scandir("/proc/self/fd")]
    opened = [os.readlink(path) for path in descriptors if os.path.lexists(path)]
    assert 0 < sum(path.startswith(str(tmp_path)) for path in opened) <= 8


def test_inspect_and_sample_read_libero(tmp_path: Path) -> None:
    recorded = record(tmp_path, (12, 7, 9), recording={"rendering": "fast"})
    facts = inspect(tmp_path)
    assert (facts["format"], facts["episodes"], facts["frames"]) == ("libero-hdf5", 3, 28)
    assert facts["tasks"] == [instruction(SOUP), instruction(MILK)]
    agent = {"dtype": "image", "kind": "image", "shape": [16, 16, 3], "names": [], "warnings": []}
    assert facts["features"][AGENT] == agent
    assert facts["recording"] == {"rendering": "fast"}
    arrays = sample_windows(tmp_path, 2, 3, [f"{AGENT}=0s", f"{ACTION_KEY}=0:16"])
    np.testing.assert_array_equal(arrays[AGENT][0], recorded[2][AGENT][3])
    assert arrays[f"{ACTION_KEY}.valid"].tolist() == [True] * 4 + [False] * 12


def test_converted_demonstrations_are_the_same(tmp_path: Path) -> None:
    from tempovla.data.convert import convert
    from tempovla.data.lerobot import open_dataset

    recorded = record(tmp_path / "a", (12, 7, 9), size=32, recording={"rendering": "fast"})
    assert convert(tmp_path / "a", tmp_path / "b") == 3
    source = open_dataset(tmp_path / "b")
    source.check()
    assert source.embodiment == LIBERO_PANDA
    assert source.recording == {"rendering": "fast"}
    for index, frames in enumerate(recorded):
        assert source.episode(index).instruction == open_libero(tmp_path / "a").episode(index).instruction
        np.testing.assert_array_equal(source.read(index, ACTION_KEY, range(7)).value, frames[ACTION_KEY][:7])
        assert source.read(index, AGENT, [0]).value.shape == (1, 32, 32, 3)
    with pytest.raises(DatasetError, match="not empty"):
        convert(tmp_path / "a", tmp_path / "b")


def test_a_user_may_say_how_the_pictures_lie_in_the_files(tmp_path: Path) -> None:
    (frames,) = record(tmp_path, (5,), (MILK,))
    upright = frames[AGENT][2]
    fingerprints = set()
    for images, stored in {
        "upright": upright,
        "bottom_first": upright[::-1],
        "turned": np.rot90(upright[::-1], 2),  # what OpenVLA makes of the pictures that OpenGL draws
    }.items():
        with h5py.File(only_file(tmp_path), "a") as file:
            file["data/demo_0/obs/agentview_rgb"][2] = stored
        source = open_source(tmp_path, libero_images=images)
        np.testing.assert_array_equal(source.read(0, AGENT, [2]).value[0], upright)
        fingerprints.add(dataset_fingerprint(source, [AGENT]))
    assert len({*fingerprints, dataset_fingerprint(open_source(tmp_path), [AGENT])}) == 4


def test_a_convention_that_nobody_knows_is_refused_with_the_setting(tmp_path: Path) -> None:
    (frames,) = record(tmp_path, (5,), (MILK,))
    with h5py.File(only_file(tmp_path), "a") as file:
        file["data"].attrs["macros_image_convention"] = "rotated"
    with pytest.raises(DatasetError, match=r"macros_image_convention is 'rotated', neither opengl nor opencv; give"):
        open_source(tmp_path)
    read = open_source(tmp_path, libero_images="bottom_first").read(0, AGENT, [2]).value[0]
    np.testing.assert_array_equal(read, frames[AGENT][2])


def test_how_pictures_lie_is_no_question_of_a_lerobot_dataset(tmp_path: Path) -> None:
    write_v21(tmp_path / "set", Foreign(cameras=(), lengths=(2,)))
    with pytest.raises(DatasetError, match="is a LeRobot dataset, but libero_images=upright is for LIBERO's HDF5"):
        open_source(tmp_path / "set", libero_images="upright")
