"""A picture is read as what it is: RGB of 8 bits, or distances in metres; anything else is refused in one line."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import check_encoded, decode_depth, decode_image, encode_png, metres, rgb_of_numbers
from tempovla.data.layout import Depth, Feature

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
CAMERA = Feature("image", (4, 6, 3))
MILLIMETRES = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
DEPTH = Feature("image", (4, 6, 1), depth=Depth(0.001))


def encoded(array: np.ndarray, mode: str | None = None, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_16_bits_a_channel() -> bytes:
    """Pillow takes it for RGB, and cuts off the lower byte."""
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in RGB.astype(np.uint16) * 257)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_rgb_is_read_and_transparency_dropped(mode: str) -> None:
    for check in (check_encoded, lambda data, feature, where: None):
        check(encoded(RGB, mode), CAMERA, "x")
    np.testing.assert_array_equal(decode_image(encoded(RGB, mode), (4, 6, 3), "x"), RGB)


def test_grey_palettes_and_single_bits_become_rgb() -> None:
    grey = np.array(Image.fromarray(RGB).convert("L"))
    np.testing.assert_array_equal(decode_image(encoded(RGB, "L"), (4, 6, 3), "x"), np.repeat(grey[..., None], 3, 2))
    bits = np.where(grey > 127, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(bits, "1"), (4, 6, 3), "x"), np.repeat(bits[..., None], 3, 2))
    palette = Image.fromarray(RGB).quantize(8)
    buffer = io.BytesIO()
    palette.save(buffer, "png", transparency=b"\x00\x80")
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), (4, 6, 3), "x"), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(orientation: int) -> None:
    """As LeRobot reads them."""
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(turned[orientation]), kind="png", exif=exif)
    check_encoded(data, Feature("image", (16, 24, 3)), "x")
    np.testing.assert_array_equal(decode_image(data, (16, 24, 3), "x"), upright)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(MILLIMETRES), 'x: a picture of more than 8 bits.*"is_depth_map": true'),
        (encoded(MILLIMETRES.astype(np.float32), kind="tiff"), "more than 8 bits"),
        (png_of_16_bits_a_channel(), "more than 8 bits"),
        (encoded(RGB, "CMYK", "jpeg"), "mode 'CMYK'; store RGB or grey"),
        (encoded(RGB[:, :5]), r"image of shape \[4, 5, 3\], but meta/info.json declares \[4, 6, 3\]"),
        (b"no picture", "damaged image"),
    ],
)
def test_what_is_no_rgb_is_refused_by_its_header_and_when_it_is_read(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_encoded(data, CAMERA, "x")
    with pytest.raises(DatasetError, match=message):
        decode_image(data, (4, 6, 3), "x")


def test_damage_behind_the_header_is_found_when_it_is_read() -> None:
    data = encode_png(RGB)[:60]
    with pytest.raises(DatasetError, match="x: damaged image"):
        decode_image(data, (4, 6, 3), "x")


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_depth_of_16_bits_is_read_in_metres(kind: str) -> None:
    data = encoded(MILLIMETRES, kind=kind)
    check_encoded(data, DEPTH, "x")
    depth = decode_depth(data, DEPTH, "x")
    assert (depth.dtype, depth.shape) == (np.float32, (4, 6, 1))
    np.testing.assert_allclose(depth[..., 0], MILLIMETRES / 1000.0, rtol=1e-6)
    assert len(np.unique(depth)) == 24


def test_depth_of_floats_is_read_and_what_is_not_finite_is_no_reading() -> None:
    stored = MILLIMETRES.astype(np.float32) / 1000
    stored[1, 1:4] = [np.nan, np.inf, -np.inf]
    depth = decode_depth(encoded(stored, kind="tiff"), Feature("image", (4, 6, 1), depth=Depth(1.0)), "x")[..., 0]
    assert depth[1, 1:4].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(depth[2:], stored[2:])


@pytest.mark.parametrize("data", [encoded(RGB), encoded(RGB, "L")])
def test_depth_of_8_bits_is_refused(data: bytes) -> None:
    for read in (check_encoded, decode_depth):
        with pytest.raises(DatasetError, match="in a depth stream; store one channel of 16 bits"):
            read(data, DEPTH, "x")


@pytest.mark.parametrize(
    ("depth", "stored", "message"),
    [
        (
            Depth(),
            1000,
            r"x: depth of an unknown unit; give --depth-unit mm \(or m\), data.depth_unit=mm",
        ),
        (Depth(1.0), -0.5, "a reading of -0.5 m"),
        (Depth(0.001, 0.1, 5), 65535, "a reading of 65.535 m, but the least is 0.1 m and the greatest 5 m"),
        (Depth(0.001, 0.1, 5), 50, "a reading of 0.05 m"),
    ],
)
def test_readings_without_a_unit_or_beyond_the_range_are_refused(depth: Depth, stored: float, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        metres(np.array([[[stored]]]), depth, "x")


def test_no_reading_lies_in_every_range() -> None:
    assert metres(np.array([[[0], [100], [5000]]]), Depth(0.001, 0.1, 5), "x").ravel().tolist() == pytest.approx(
        [0, 0.1, 5]
    )


FIRST = Feature("image", (4, 6, 3), is_channels_first=True)


@pytest.mark.parametrize(
    ("values", "feature", "found"),
    [
        (RGB, CAMERA, RGB),
        (RGB.astype(np.int64), CAMERA, RGB),
        (RGB.astype(np.float32), CAMERA, RGB),
        (RGB / 255, CAMERA, RGB),
        (np.zeros((4, 6, 3)), CAMERA, np.zeros((4, 6, 3))),
        (RGB.transpose(2, 0, 1), FIRST, RGB),
        (RGB, FIRST, RGB),
        (RGB[..., :1], CAMERA, RGB[..., :1].repeat(3, -1)),
    ],
)
def test_numbers_are_levels_or_shares_of_brightness(values: np.ndarray, feature: Feature, found: np.ndarray) -> None:
    image = rgb_of_numbers(values[None], feature, "x")[0]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, found)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RGB.astype(np.int64) + 256, "which is not a picture of 8 bits"),
        (RGB / 127.5 - 1, "numbers from -0.992157 to 0.945098"),
        (RGB * 1.5, "which is not a picture of 8 bits"),
        (np.full((4, 6, 3), np.nan), "which is not a picture of 8 bits"),
        ((RGB > 127).astype(np.float32), "so 1 may be dark or bright"),
        (RGB.transpose(2, 0, 1), r"picture of shape \[3, 4, 6\], but meta/info.json declares \[4, 6, 3\]"),
    ],
)
def test_numbers_that_are_no_picture_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        rgb_of_numbers(values[None], CAMERA, "x")
