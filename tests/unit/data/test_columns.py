"""Columns are read as they are declared, however they are stored; what is not as declared is refused with its row."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.foreign import (
    ACTION,
    FRONT,
    SIDE,
    STATE,
    WRITERS,
    Foreign,
    edit_json,
    encode_image,
    picture,
    read_picture,
    write_v21,
    write_v30,
)

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError, UnknownStreamError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.stream_keys import StreamKeys
from tempovla.timeline import Window

DEPTH, EXTRA = "observation.images.depth", "observation.extra"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LENGTHS = (3, 2)

Storage = Callable[[int, int], pa.Array]
"""Gives a column of an episode, of its index and length."""


def pictures(index: int, length: int) -> list[np.ndarray]:
    return [picture(index, step) for step in range(length)]


def structs(kind: str = "png", mode: str = "RGB", **options: Any) -> Storage:
    def column(index: int, length: int) -> pa.Array:
        converted = [np.array(Image.fromarray(image).convert(mode)) for image in pictures(index, length)]
        return pa.array([{"bytes": encode_image(image, kind, **options), "path": None} for image in converted], STRUCT)

    return column


STORAGES: dict[str, Storage] = {
    "png": structs(),
    "jpeg": structs("jpeg", quality=90),
    "grey": structs(mode="L"),
    "rgba": structs(mode="RGBA"),
    "bytes only": lambda index, length: pa.array([{"bytes": encode_image(i)} for i in pictures(index, length)]),
    "binary": lambda index, length: pa.array([encode_image(i) for i in pictures(index, length)], pa.large_binary()),
    "uint8": lambda index, length: pa.array(
        [i.tolist() for i in pictures(index, length)], pa.list_(pa.list_(pa.list_(pa.uint8())))
    ),
    "int64 in a flat list": lambda index, length: pa.array([i.ravel().tolist() for i in pictures(index, length)]),
    "shares of brightness": lambda index, length: pa.array([(i / 255).tolist() for i in pictures(index, length)]),
}


def one_camera(column: Storage, **options: Any) -> Foreign:
    return Foreign(
        lengths=LENGTHS,
        storage="image",
        columns=lambda usual, index, length: usual | {FRONT: column(index, length)},
        **options,
    )


def with_column(key: str, entry: dict[str, Any] | None, column: Storage, **options: Any) -> Foreign:
    return Foreign(
        lengths=LENGTHS,
        features={key: entry} if entry else {},
        columns=lambda usual, index, length: usual | {key: column(index, length)},
        **options,
    )


def told(root: Path) -> list[tuple[int, int, int]]:
    return [read_picture(image) for image in sample_windows(root, 1, 0, [f"{FRONT}=0,1"])[FRONT]]


@pytest.mark.parametrize("name", STORAGES)
def test_pictures_are_read_checked_and_converted_in_every_storage(tmp_path: Path, name: str) -> None:
    root = write_v21(tmp_path / "old", one_camera(STORAGES[name]))
    assert inspect(root)["features"][FRONT]["kind"] == "image"
    assert told(root) == [(1, 0, 0), (1, 1, 0)]
    convert(root, tmp_path / "new")
    assert inspect(tmp_path / "new")["features"][FRONT]["warnings"] == []
    old, new = (sample_windows(folder, 0, 1, [f"{FRONT}=-1:2"])[FRONT] for folder in (root, tmp_path / "new"))
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("beside", ["root", "parquet"])
@pytest.mark.parametrize("kind", [STRUCT, pa.string()])
def test_pictures_in_files_beside_are_found(tmp_path: Path, beside: str, kind: pa.DataType) -> None:
    folder = tmp_path / "old" if beside == "root" else tmp_path / "old/data/chunk-000"

    def column(index: int, length: int) -> pa.Array:
        names = [f"images/{index}_{step}.png" for step in range(length)]
        return pa.array(names if kind == pa.string() else [{"bytes": None, "path": name} for name in names], kind)

    root = write_v21(tmp_path / "old", one_camera(column))
    (folder / "images").mkdir()
    for index, length in enumerate(LENGTHS):
        for step, image in enumerate(pictures(index, length)):
            (folder / f"images/{index}_{step}.png").write_bytes(encode_image(image))
    assert told(root) == [(1, 0, 0), (1, 1, 0)]
    convert(root, tmp_path / "new")
    assert told(tmp_path / "new") == [(1, 0, 0), (1, 1, 0)]  # without the files


def test_channels_come_first_where_that_is_declared(tmp_path: Path) -> None:
    entry = {"dtype": "image", "shape": [3, SIDE, SIDE], "names": ["channels", "height", "width"]}

    def numbers(index: int, length: int) -> pa.Array:
        return pa.array([image.transpose(2, 0, 1).tolist() for image in pictures(index, length)])

    for column in (structs(), numbers):
        root = write_v21(tmp_path / "set", one_camera(column, features={FRONT: entry}))
        assert told(root) == [(1, 0, 0), (1, 1, 0)]


@pytest.mark.parametrize("kind", [STRUCT, pa.binary()])
def test_a_null_picture_is_named_with_its_row(tmp_path: Path, kind: pa.DataType) -> None:
    def column(index: int, length: int) -> pa.Array:
        data: list[bytes | None] = [encode_image(image) for image in pictures(index, length)]
        if index == 1:
            data[1] = None
        return pa.array([{"bytes": item, "path": None} for item in data] if kind == STRUCT else data, kind)

    root = write_v21(tmp_path / "old", one_camera(column))
    for read in (inspect, lambda folder: convert(folder, tmp_path / "new"), told):
        with pytest.raises(DatasetError, match=rf"episode_000001.parquet: '{FRONT}' row 1: null, no picture; remove"):
            read(root)
    assert not (tmp_path / "new").exists()
    assert read_picture(sample_windows(root, 0, 0, [f"{FRONT}=0"])[FRONT][0]) == (0, 0, 0)


def millimetres(index: int, step: int) -> np.ndarray:
    return (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) + 400 + 10 * step + 100 * index).astype(np.uint16)


def depth_column(kind: str) -> Storage:
    def column(index: int, length: int) -> pa.Array:
        stored = [millimetres(index, step) for step in range(length)]
        if kind == "numbers":
            return pa.array([image.tolist() for image in stored], pa.list_(pa.list_(pa.uint16())))
        if kind == "tiff of floats":
            data = [encode_image((image / 1000).astype(np.float32), "tiff") for image in stored]
        else:
            data = [encode_image(image) for image in stored]
        if kind == "binary":
            return pa.array(data, pa.binary())
        return pa.array([{"bytes": item, "path": None} for item in data], STRUCT)

    return column


DEPTHS = {
    "png": ({"dtype": "image", "shape": [SIDE, SIDE, 1], "info": {"is_depth_map": True}}, "mm"),
    "binary": ({"dtype": "depth", "shape": [SIDE, SIDE, 1], "info": {"depth_unit": "mm"}}, None),
    "numbers": ({"dtype": "uint16", "shape": [SIDE, SIDE], "names": None}, "0.001"),
    "tiff of floats": ({"dtype": "image", "shape": [1, SIDE, SIDE], "info": {"video.is_depth_map": True}}, "m"),
}


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("png", "v2.1"),
        ("png", "v3.0"),
        ("binary", "v2.1"),
        ("numbers", "v2.1"),
        ("numbers", "v3.0"),
        ("tiff of floats", "v2.1"),
    ],
)
def test_depth_is_read_in_metres_and_converted(tmp_path: Path, kind: str, version: str) -> None:
    entry, unit = DEPTHS[kind]
    root = WRITERS[version](tmp_path / "old", with_column(DEPTH, entry, depth_column(kind)))
    window = [f"{DEPTH}=0,1"]
    facts = inspect(root)["features"]
    assert (facts[DEPTH]["kind"], facts[DEPTH]["shape"], facts[FRONT]["kind"]) == ("depth", [SIDE, SIDE, 1], "image")
    if unit is not None:
        assert "nobody says in which unit; give --depth-unit" in facts[DEPTH]["warnings"][0]
        with pytest.raises(DatasetError, match=rf"'{DEPTH}' row \d: nobody says in which unit; give --depth-unit mm"):
            sample_windows(root, 1, 0, window)
    assert inspect(root, depth_unit=unit)["features"][DEPTH]["warnings"] == []
    convert(root, tmp_path / "new", depth_unit=unit)
    for folder, given in ((root, unit), (tmp_path / "new", None)):  # the converted one tells the unit
        depth = sample_windows(folder, 1, 0, window, depth_unit=given)[DEPTH]
        assert (depth.dtype, depth.shape) == (np.float32, (2, SIDE, SIDE, 1))
        for step in (0, 1):
            np.testing.assert_allclose(depth[step, ..., 0], millimetres(1, step) / 1000.0, rtol=1e-6)
    assert told(tmp_path / "new") == [(1, 0, 0), (1, 1, 0)]


def encode_levels(path: Path, images: list[np.ndarray], codec: str, pix_fmt: str, options: dict[str, str]) -> None:
    """Write (H, W) uint16 levels without loss."""
    with av.open(str(path), "w", format="matroska" if codec == "ffv1" else "mp4") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = images[0].shape
        stream.pix_fmt, stream.options = pix_fmt, options
        for number, image in enumerate(images):
            frame = av.VideoFrame(image.shape[1], image.shape[0], pix_fmt)
            plane = np.zeros((image.shape[0], frame.planes[0].line_size // 2), np.uint16)
            plane[:, : image.shape[1]] = image
            frame.planes[0].update(plane)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


LEVELS = {"video.depth_min": 0.01, "video.depth_max": 10.0, "video.shift": 3.5, "video.use_log": True}
X265 = {"x265-params": "lossless=1:log-level=error:bframes=0:keyint=2"}


@pytest.mark.parametrize(
    ("info", "codec", "pix_fmt"),
    [
        (LEVELS, "libx265", "gray12le"),
        (LEVELS | {"video.use_log": False}, "libx265", "gray12le"),
        ({"video.pix_fmt": "gray16le", "depth_unit": "mm"}, "ffv1", "gray16le"),
    ],
)
def test_depth_in_a_video_is_read_where_its_levels_are_known(
    tmp_path: Path, info: dict[str, Any], codec: str, pix_fmt: str
) -> None:
    """As LeRobot writes them: 12 bits, even in the logarithm of the distance or in the distance."""
    entry = {"dtype": "video", "shape": [SIDE, SIDE, 1], "names": None, "info": info | {"is_depth_map": True}}
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS, cameras=(FRONT, DEPTH), features={DEPTH: entry}))
    distances_m = np.linspace(0.01, 10, SIDE * SIDE).reshape(SIDE, SIDE) + np.zeros((3, 1, 1))
    distances_m[:, 0, :5] = np.arange(3)[:, None] + 0.5
    distances_m[:, 1, :7] = 0  # no reading
    if "depth_unit" in info:
        levels = np.round(distances_m * 1000)
    elif info["video.use_log"]:
        levels = np.log((distances_m + 3.5) / 3.51) / np.log(13.5 / 3.51) * 4095
    else:
        levels = (distances_m - 0.01) / 9.99 * 4095
    stored = np.clip(np.round(levels), 0, 65535).astype(np.uint16)
    for index, length in enumerate(LENGTHS):
        path = root / f"videos/chunk-000/{DEPTH}/episode_{index:06d}.mp4"
        encode_levels(path, list(stored[:length]), codec, pix_fmt, X265 if codec == "libx265" else {})
    assert inspect(root)["features"][DEPTH] == {
        "dtype": "video",
        "kind": "depth",
        "shape": [SIDE, SIDE, 1],
        "names": [],
        "warnings": [],
    }
    depth = sample_windows(root, 0, 0, [f"{DEPTH}=0,2"])[DEPTH]
    assert depth.dtype == np.float32
    assert (depth[:, 1, :7] == 0).all()
    np.testing.assert_allclose(depth[..., 0], distances_m[[0, 2]], atol=0.003)
    assert told(root) == [(1, 0, 0), (1, 1, 0)]


def test_depth_in_a_video_of_8_bits_is_named(tmp_path: Path) -> None:
    entry = {"dtype": "video", "shape": [SIDE, SIDE, 1], "names": None, "info": LEVELS | {"is_depth_map": True}}
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS, cameras=(FRONT, DEPTH), features={DEPTH: entry}))
    assert "pixel format yuv420p, not of 12 bits" in inspect(root)["features"][DEPTH]["warnings"][0]
    with pytest.raises(DatasetError, match=r"episode_000001.mp4: frames of the pixel format yuv420p, not of 12 bits"):
        sample_windows(root, 1, 0, [f"{DEPTH}=0"])


def test_a_unit_for_no_depth_or_against_what_is_declared_is_refused(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", with_column(DEPTH, DEPTHS["binary"][0], depth_column("binary")))
    with pytest.raises(DatasetError, match=r"depth unit 'm', but meta/info.json gives .* one of 0.001 m"):
        inspect(root, depth_unit="m")
    assert inspect(root, depth_unit="mm")["features"][DEPTH]["warnings"] == []
    write_v21(root, Foreign(lengths=LENGTHS))
    with pytest.raises(DatasetError, match="has no depth that needs one; leave the option out"):
        inspect(root, depth_unit="mm")


def test_a_picture_of_16_bits_is_no_rgb(tmp_path: Path) -> None:
    entry = {"dtype": "image", "shape": [SIDE, SIDE, 1], "names": None}
    root = write_v21(tmp_path / "set", one_camera(depth_column("png"), features={FRONT: entry}))
    for read in (inspect, told):
        with pytest.raises(DatasetError, match=rf"'{FRONT}' row 0: a picture of more than 8 bits.*is_depth_map"):
            read(root)


BAD: dict[str, tuple[dict[str, Any], Callable[[int], Any], str]] = {
    "null": ({"dtype": "float32", "shape": [3]}, lambda step: None if step == 1 else [1.0] * 3, "holds null in row 1"),
    "ragged": ({"dtype": "float32", "shape": [3]}, lambda step: [1.0] * (3 - step % 2), "a list of 2, others hold 3"),
    "wraps": ({"dtype": "uint8", "shape": [1]}, lambda step: 300, "holds 300, which is no uint8"),
    "nan": ({"dtype": "float32", "shape": [1]}, lambda step: float("nan"), "nan in row 0"),
    "infinity": ({"dtype": "float64", "shape": [1]}, lambda step: float("-inf"), "-inf in row 0"),
    "other shape": ({"dtype": "float32", "shape": [4]}, lambda step: [1.0] * 3, r"not the declared shape \[4\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_as_declared_matters_to_those_who_read_it(tmp_path: Path, name: str) -> None:
    """Nobody else notices; inspect warns, and convert keeps it."""
    entry, row, message = BAD[name]

    def column(index: int, length: int) -> pa.Array:
        return pa.array([row(step if index == 1 else 0) for step in range(length)])

    root = write_v21(tmp_path / "old", with_column(EXTRA, entry, column))
    assert len(inspect(root)["features"][EXTRA]["warnings"]) == 1
    mixture = Mixture([open_dataset(root)])
    batch = next(iter(SampleLoader(mixture, [Window(ACTION, (0,)), Window(FRONT, (0,))], LoaderConfig(), seed=0)))
    assert batch.future[ACTION].valid.all()
    convert(root, tmp_path / "new")
    kept = inspect(tmp_path / "new")["features"][EXTRA]["warnings"]
    assert re.search(message.removesuffix("in row 0").removesuffix("in row 1"), kept[0])
    with pytest.raises(DatasetError, match=rf"episode_000001.parquet: .*'{EXTRA}' .*{message}") as caught:
        sample_windows(root, 1, 0, [f"{EXTRA}=0"])
    assert "\n" not in str(caught.value)
    for key in (STATE, ACTION) if name != "wraps" else ():  # these two are floats
        write_v21(root, with_column(key, entry, column))
        for read in (inspect, lambda folder: convert(folder, tmp_path / "newer")):
            with pytest.raises(DatasetError, match=message):
                read(root)
        assert not (tmp_path / "newer").exists()


def test_a_bad_row_is_named_with_its_episode(tmp_path: Path) -> None:
    def column(index: int, length: int) -> pa.Array:
        return pa.array([None if (index, step) == (1, 1) else 7 for step in range(length)])

    root = write_v30(tmp_path / "set", with_column(EXTRA, {"dtype": "int64", "shape": [1]}, column))
    with pytest.raises(DatasetError, match=rf"file-000.parquet: column '{EXTRA}' holds null in row 4 \(episode 1\)"):
        sample_windows(root, 1, 0, [f"{EXTRA}=0"])


@pytest.mark.parametrize("shape", [[], [1]])
@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.int32()), pa.list_(pa.float64(), 1), pa.bool_()])
def test_an_action_of_one_is_a_vector_of_floats(tmp_path: Path, shape: list[int], kind: pa.DataType) -> None:
    entry = {"dtype": "bool" if kind == pa.bool_() else "int64", "shape": shape}

    def column(index: int, length: int) -> pa.Array:
        values: list[Any] = [(index + step) % 2 for step in range(length)]
        if kind == pa.bool_():
            values = [bool(value) for value in values]
        return pa.array([[value] for value in values] if pa.types.is_nested(kind) else values, kind)

    root = write_v21(tmp_path / "old", with_column(ACTION, entry, column, action_dim=1))
    convert(root, tmp_path / "new")
    for folder in (root, tmp_path / "new"):
        actions = sample_windows(folder, 1, 0, [f"{ACTION}=0,1"])[ACTION]
        assert (actions.dtype, actions.tolist()) == (np.float32, [[1.0], [0.0]])


def test_times_keep_the_precision_in_which_they_are_stored(tmp_path: Path) -> None:
    foreign = Foreign(
        lengths=LENGTHS,
        columns=lambda usual, index, length: usual | {"timestamp": pa.array(1.7e9 + np.arange(length) / 10)},
    )
    source = open_dataset(write_v21(tmp_path / "set", foreign))
    np.testing.assert_allclose(np.diff(source.timestamps(0, ACTION)), 0.1, rtol=1e-5)
    assert source.read(0, ACTION, [2]).valid.all()


UNREAD: dict[str, tuple[dict[str, Any] | None, Storage | None, str]] = {
    "text": ({"dtype": "string", "shape": [1]}, lambda index, length: pa.array(["pick"] * length), "as text"),
    "list": ({"dtype": "list", "shape": [1]}, lambda index, length: pa.array([["a"]] * length), "with dtype 'list'"),
    "audio": ({"dtype": "audio", "shape": [1]}, lambda index, length: pa.array([b"x"] * length), "with dtype 'audio'"),
    "struct": (
        {"dtype": "float32", "shape": [2]},
        lambda index, length: pa.array([{"x": 1.0, "y": 2.0}] * length),
        "declared as float32, but its column holds struct",
    ),
    "text in numbers": (
        {"dtype": "float32", "shape": [1]},
        lambda index, length: pa.array(["1"] * length),
        "its column holds string",
    ),
    "4 channels": (
        {"dtype": "image", "shape": [SIDE, SIDE, 4]},
        structs(mode="RGBA"),
        r"camera 'observation.extra' the shape \[64, 64, 4\]",
    ),
    "no column": ({"dtype": "float32", "shape": [1]}, None, "has no column 'observation.extra'"),
    "no shape": ({"dtype": "video", "shape": None}, None, "the shape None"),
    "no video": ({"dtype": "video", "shape": [SIDE, SIDE, 3]}, None, "all of its videos are missing"),
    "depth in a video of unknown levels": (
        {"dtype": "video", "shape": [SIDE, SIDE, 1], "info": {"is_depth_map": True}},
        None,
        "as depth in a video",
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_left_out_with_a_line(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry, column, reason = UNREAD[name]
    foreign = Foreign(lengths=LENGTHS, features={EXTRA: entry}) if column is None else with_column(EXTRA, entry, column)
    root = write_v21(tmp_path / "old", foreign)
    with caplog.at_level("INFO", "tempovla"):
        facts = inspect(root)
    lines = [record.message for record in caplog.records if "left out" in record.message]
    assert lines[0].startswith(f"{root}: 1 of its columns are left out: {EXTRA} (")
    assert EXTRA not in facts["features"]
    with pytest.raises(UnknownStreamError, match=rf"old: stream '{EXTRA}' is left out: .*{reason}") as caught:
        sample_windows(root, 0, 0, [f"{EXTRA}=0"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownStreamError, match="is left out"):
        SampleLoader(Mixture([open_dataset(root)]), [Window(EXTRA, (0,))], LoaderConfig(), seed=0)
    caplog.clear()
    convert(root, tmp_path / "new")
    converted = inspect(tmp_path / "new")
    assert (EXTRA in converted["left_out"]) == (column is not None)  # carried along where it can be
    if column is None:
        assert any("1 columns are not converted" in record.message for record in caplog.records)
    assert told(tmp_path / "new") == [(1, 0, 0), (1, 1, 0)]


@pytest.mark.parametrize("key", [STATE, ACTION, FRONT])
def test_without_what_every_policy_reads_inspect_fails(tmp_path: Path, key: str) -> None:
    entry = {"dtype": "video" if key == FRONT else "float32", "shape": None}
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS, features={key: entry}))
    with pytest.raises(UnknownStreamError, match=f"'{key}' is left out"):
        inspect(root)
    with pytest.raises(UnknownStreamError, match=f"'{key}' is left out"):
        convert(root, tmp_path / "new")


def test_a_camera_without_videos_of_one_episode_is_refused_there_alone(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", Foreign(lengths=LENGTHS))
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1][f"videos/{FRONT}/from_timestamp"] = None
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert read_picture(sample_windows(root, 0, 1, [f"{FRONT}=0"])[FRONT][0]) == (0, 1, 0)
    for read in (told, inspect):
        with pytest.raises(DatasetError, match=rf"gives episode 1 no video of '{FRONT}'; restore it"):
            read(root)


def test_a_camera_that_the_episodes_do_not_mention_is_left_out(tmp_path: Path) -> None:
    side = "observation.images.side"
    entry = {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": None}
    root = write_v30(tmp_path / "set", Foreign(lengths=LENGTHS, features={side: entry}))
    assert f"no column 'videos/{side}/" in inspect(root)["left_out"][side]
    assert told(root) == [(1, 0, 0), (1, 1, 0)]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(path).read()), path)


def test_a_name_of_two_columns_blocks_only_who_reads_it(tmp_path: Path) -> None:
    extra = {EXTRA: {"dtype": "float32", "shape": [1]}}
    column = pa.array(np.zeros(3, np.float32))
    root = write_v21(
        tmp_path / "a",
        Foreign(lengths=(3, 3), features=extra, columns=lambda usual, index, length: usual | {EXTRA: column}),
    )
    for path in sorted(root.glob("data/*/*.parquet")):
        rewrite(path, lambda table: table.append_column(EXTRA, table.column(EXTRA)))
    message = rf"has 2 columns '{EXTRA}'; remove all but one"
    assert re.search(message, inspect(root)["left_out"][EXTRA])
    with pytest.raises(UnknownStreamError, match=message):
        open_dataset(root).read(0, EXTRA, [0])
    convert(root, tmp_path / "b")
    assert EXTRA not in open_dataset(tmp_path / "b").streams
    rewrite(path, lambda table: table.append_column("timestamp", table.column("timestamp")))
    with pytest.raises(DatasetError, match=r"has 2 columns 'timestamp'; remove all but one"):
        inspect(root)


def test_an_episode_whose_rows_are_there_twice_is_refused(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "a", Foreign(lengths=LENGTHS, statistics=False))
    rewrite(root / "data/chunk-000/file-000.parquet", lambda table: pa.concat_tables([table, table.slice(0, 3)]))
    with pytest.raises(DatasetError, match=r"rows 0 to 2 have episode_index 0, and so have rows 5 to 7"):
        inspect(root)
    assert open_dataset(root).read(1, STATE, [0]).value.shape == (1, 3)


def test_a_file_without_any_row_of_its_episode_says_whose_rows_it_has(tmp_path: Path) -> None:
    zero = Foreign(columns=lambda usual, index, length: usual | {"episode_index": pa.array([0] * length)})
    with pytest.raises(DatasetError, match=r"episode_000001.parquet: no row has episode_index 1.*\(it has 0\)"):
        inspect(write_v21(tmp_path / "a", zero))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda encoded: pa.array([encoded], pa.binary_view()), None),
        (lambda encoded: pa.array([(np.frombuffer(encoded, np.uint8)).tolist()], pa.list_(pa.uint8())), "picture of"),
        (lambda encoded: pa.array([{"bytes": list(encoded)}]), "a list, no encoded picture; store the bytes of a PNG"),
        (lambda encoded: pa.array([encoded.hex() * 9]), r"characters \(.*\), which is no path of a picture; store the"),
        (
            lambda encoded: pa.array([b"\0" * 99]),
            r"damaged image \(99 bytes that begin with .*; store enc",
        ),
    ],
)
def test_pictures_in_other_wrappings(tmp_path: Path, column: Callable[[bytes], pa.Array], message: str | None) -> None:
    stored = column(encode_image(picture(0, 0)))
    root = write_v21(
        tmp_path / "a",
        Foreign(lengths=(1,), storage="image", columns=lambda usual, index, length: usual | {FRONT: stored}),
    )
    if message is None:
        inspect(root)
        assert read_picture(open_dataset(root).read(0, FRONT, [0]).value[0]) == (0, 0, 0)
        return
    for read in (lambda: inspect(root), lambda: open_dataset(root).read(0, FRONT, [0])):
        with pytest.raises(DatasetError, match=message):
            read()


def test_pictures_of_true_and_false_are_bright_and_dark(tmp_path: Path) -> None:
    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        masks = [(image[..., 0] > 127).tolist() for image in pictures(index, length)]
        return usual | {FRONT: pa.array(masks, pa.list_(pa.list_(pa.bool_())))}

    source = open_dataset(write_v21(tmp_path / "a", Foreign(lengths=LENGTHS, storage="image", columns=columns)))
    value = source.read(1, FRONT, [1]).value[0]
    assert read_picture(value)[:2] == (1, 1)
    assert set(np.unique(value)) == {0, 255}


def test_paths_of_pictures_may_be_those_of_windows(tmp_path: Path) -> None:
    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        return usual | {FRONT: pa.array([f"images\\{index}_{step}.png" for step in range(length)])}

    root = write_v21(tmp_path / "a", Foreign(lengths=LENGTHS, storage="image", columns=columns))
    (root / "images").mkdir()
    for index, length in enumerate(LENGTHS):
        for step, image in enumerate(pictures(index, length)):
            Image.fromarray(image).save(root / "images" / f"{index}_{step}.png")
    assert read_picture(open_dataset(root).read(1, FRONT, [1]).value[0])[:2] == (1, 1)


@pytest.mark.parametrize("shape", [[1, 3], [3, 1], [1, 3, 1]])
def test_a_state_with_axes_of_one_is_a_vector(tmp_path: Path, shape: list[int]) -> None:
    foreign = Foreign(lengths=LENGTHS, features={STATE: {"dtype": "float32", "shape": shape}})
    source = open_dataset(write_v21(tmp_path / "a", foreign))
    assert source.embodiment.state_dim == 3
    np.testing.assert_array_equal(source.read(1, STATE, range(2)).value, foreign.state(1, 2))


def test_a_state_of_several_axes_is_refused_with_a_declaration_that_works(tmp_path: Path) -> None:
    foreign = Foreign(
        lengths=LENGTHS,
        state_dim=6,
        features={STATE: {"dtype": "float32", "shape": [2, 3]}, EXTRA: {"dtype": "float32", "shape": [2]}},
        columns=lambda usual, index, length: usual | {EXTRA: usual[ACTION]},
    )
    root = write_v21(tmp_path / "a", foreign)
    message = rf"'{STATE}' has shape \[2, 3\].*declare it as \[6\].*with state_key, of \['{EXTRA}'\]"
    with pytest.raises(DatasetError, match=message):
        inspect(root)
    inspect(root, StreamKeys.parse(EXTRA, None))
    edit_json(root / "meta/info.json", lambda info: info["features"][STATE].update(shape=[6]))
    inspect(root)
    np.testing.assert_array_equal(open_dataset(root).read(0, STATE, range(3)).value, foreign.state(0, 3))


@pytest.mark.parametrize(("unit", "metres"), [("Millimeters", 1.0), ("MM", 1.0), ("metre", 1000.0), ("cm", 10.0)])
def test_units_of_depth_in_words(tmp_path: Path, unit: str, metres: float) -> None:
    entry = {"dtype": "uint16", "shape": [2, 2], "info": {"is_depth_map": "true", "depth_unit": unit}}

    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        return usual | {DEPTH: pa.array([[[1000, 1000], [1000, 1000]]] * length, pa.list_(pa.list_(pa.uint16())))}

    source = open_dataset(write_v21(tmp_path / "a", Foreign(lengths=LENGTHS, features={DEPTH: entry}, columns=columns)))
    np.testing.assert_allclose(source.read(0, DEPTH, [0]).value, metres)
