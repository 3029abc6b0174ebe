"""Videos come back as they went in, enlarged, and play in a browser."""

import av
import numpy as np
import pytest

from tempovla.report.video import encode_mp4, enlarged, side_by_side


def decode(path) -> tuple[np.ndarray, dict]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        facts = {"codec": stream.codec_context.name, "format": stream.pix_fmt, "rate": stream.average_rate}
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    return frames, facts


def test_frames_come_back_enlarged(tmp_path):
    frames = np.zeros((12, 32, 48, 3), np.uint8)
    frames[..., 24:, :] = (200, 60, 40)
    frames[6:, :16] = 255

    decoded, facts = decode(encode_mp4(frames, tmp_path / "a.mp4", rate_hz=12.5, scale=2))

    assert decoded.shape == (12, 64, 96, 3)
    assert facts == {"codec": "h264", "format": "yuv420p", "rate": 12.5}
    enlarged = frames.repeat(2, axis=1).repeat(2, axis=2)
    away_from_edges = (
        np.abs(decoded.astype(int) - enlarged)[:, 8:24, 8:40].max(),
        np.abs(decoded.astype(int) - enlarged)[:, 40:56, 56:88].max(),
    )
    assert max(away_from_edges) <= 12


def test_index_lies_in_front_so_that_browsers_start_at_once(tmp_path):
    data = encode_mp4(np.zeros((4, 16, 16, 3), np.uint8), tmp_path / "a.mp4", rate_hz=10).read_bytes()

    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_sides_are_cut_to_even_ones(tmp_path):
    decoded, _ = decode(encode_mp4(np.zeros((2, 17, 33, 3), np.uint8), tmp_path / "a.mp4", rate_hz=10, scale=1))

    assert decoded.shape == (2, 16, 32, 3)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 16, 16, 3), np.float32),
        np.zeros((16, 16, 3), np.uint8),
        np.zeros((4, 16, 16, 1), np.uint8),
        np.zeros((0, 16, 16, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match=r"encode_mp4 wants uint8 \(T, H, W, 3\)"):
        encode_mp4(frames, tmp_path / "a.mp4", rate_hz=10)
    assert list(tmp_path.iterdir()) == []


def test_cameras_lie_side_by_side():
    left, right = np.full((2, 4, 4, 3), 10, np.uint8), np.full((2, 4, 6, 3), 20, np.uint8)

    joined = side_by_side([left, right], gap=1)

    assert joined[0, 0, :, 0].tolist() == [10] * 4 + [0] + [20] * 6
    with pytest.raises(ValueError, match="T and H must be equal"):
        side_by_side([left, right[:, :2]])


def test_enlarged_pictures_are_as_many_and_as_bright():
    frames = np.full((2, 4, 6, 3), 60, np.uint8)
    frames[1, :, 3:] = 200

    larger = enlarged(frames, scale=3)

    assert larger.shape == (2, 12, 18, 3)
    assert np.abs(larger[0].astype(int) - 60).max() <= 2
    assert np.abs(larger[1, :, [0, -1], 0].astype(int) - [[60], [200]]).max() <= 12
