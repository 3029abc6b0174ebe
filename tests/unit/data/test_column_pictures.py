"""Pictures in parquet files are read however they are stored; what is no picture of 8 bits is refused with its row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tests.foreign import FRONT, SIDE, WRITERS, Foreign, encode_image, picture, read_picture, write_v21
from tests.stored_columns import LENGTHS, STRUCT, Storage, one_camera, pictures, structs, told

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.lerobot import open_dataset

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


def floats(rows: dict[tuple[int, int], np.ndarray], scale: float = 1.0) -> Storage:
    """Pictures as float32, of which some, by episode and step, are others."""

    def column(index: int, length: int) -> pa.Array:
        usual = [rows.get((index, step), image * scale) for step, image in enumerate(pictures(index, length))]
        return pa.array([np.asarray(image, np.float32).tolist() for image in usual], NESTED)

    return column


NESTED = pa.list_(pa.list_(pa.list_(pa.float32())))
DARK = np.zeros((SIDE, SIDE, 3))
DARK[0, 0] = 1
FAINT = DARK * 0.5


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize(("scale", "bright"), [(1.0, 1), (1 / 255, 255)], ids=["levels", "shares"])
@pytest.mark.parametrize("place", [(0, 0), (1, 1)])
def test_what_floats_mean_is_told_by_the_column_and_not_by_each_picture(
    tmp_path: Path, version: str, scale: float, bright: int, place: tuple[int, int]
) -> None:
    """A picture of 0 and 1 alone has the scale of the others, also where it is read first."""
    root = WRITERS[version](tmp_path / "set", one_camera(floats({place: DARK}, scale)))
    inspect(root)
    source = open_dataset(root)
    np.testing.assert_array_equal(source.read(place[0], FRONT, [place[1]]).value[0], DARK * bright)
    other = (1, 0) if place[0] == 0 else (0, 2)
    assert read_picture(source.read(other[0], FRONT, [other[1]]).value[0]) == (*other, 0)


def test_the_first_file_that_tells_decides(tmp_path: Path) -> None:
    rows = {(0, step): DARK for step in range(LENGTHS[0])}
    source = open_dataset(write_v21(tmp_path / "set", one_camera(floats(rows))))
    np.testing.assert_array_equal(source.read(0, FRONT, [1]).value[0], DARK)
    (tmp_path / "set/data/chunk-000/episode_000000.parquet").unlink()
    assert read_picture(open_dataset(tmp_path / "set").read(1, FRONT, [0]).value[0]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("rows", "scale", "message"),
    [
        (
            {(1, 1): FAINT},
            1.0,
            r"row 1: numbers from 0 to 0.5, though the column's first pictures are levels of 0 to 255",
        ),
        ({(1, 1): DARK * 9}, 1 / 255, r"row 1: numbers from 0 to 9, though the column's first pictures are fractions"),
        ({(1, 1): DARK * 1.5}, 1 / 255, r"row 1: numbers from 0 to 1.5, which is not a picture of 8 bits"),
        ({(i, t): DARK for i in range(2) for t in range(3)}, 1.0, "row 0: floats that are all 0 or 1, so 1 may be"),
    ],
)
def test_pictures_of_another_scale_and_those_that_nothing_tells_of_are_refused(
    tmp_path: Path, rows: dict[tuple[int, int], np.ndarray], scale: float, message: str
) -> None:
    root = write_v21(tmp_path / "set", one_camera(floats(rows, scale)))
    for read in (inspect, told):
        with pytest.raises(DatasetError, match=rf"'{FRONT}' {message}") as caught:
            read(root)
        assert "\n" not in str(caught.value)


def test_paths_of_pictures_may_be_those_of_windows(tmp_path: Path) -> None:
    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        return usual | {FRONT: pa.array([f"images\\{index}_{step}.png" for step in range(length)])}

    root = write_v21(tmp_path / "a", Foreign(lengths=LENGTHS, storage="image", columns=columns))
    (root / "images").mkdir()
    for index, length in enumerate(LENGTHS):
        for step, image in enumerate(pictures(index, length)):
            Image.fromarray(image).save(root / "images" / f"{index}_{step}.png")
    assert read_picture(open_dataset(root).read(1, FRONT, [1]).value[0])[:2] == (1, 1)
