"""Whatever the codec, the order of coding and the order of access: the frame is the one shown at the asked time."""

import struct
import tempfile
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.foreign import encode_video, picture, read_picture

from tempovla.data import video_encode
from tempovla.data.errors import DatasetError
from tempovla.data.video import VideoFile

FPS = 30
QUIET = {"x265-params": "log-level=none:pools=none:frame-threads=1"}


class Coding(NamedTuple):
    """A codec with a way of using it."""

    codec: str
    options: dict[str, str]
    pix_fmt: str = "yuv420p"


H264 = Coding("libx264", {"bf": "3", "crf": "18"})
H264_IN_ORDER = Coding("libx264", {"bf": "0", "crf": "18"})
H264_OPEN = Coding("libx264", {"bf": "3", "x264-params": "open-gop=1"})
HEVC = Coding("libx265", QUIET)
HEVC_RADL = Coding("libx265", {"x265-params": QUIET["x265-params"] + ":open-gop=0:radl=2:bframes=4"})
AV1 = Coding("libsvtav1", {"crf": "30", "preset": "12"})
VP9 = Coding("libvpx-vp9", {"crf": "20", "b:v": "0", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"})
MPEG4 = Coding("mpeg4", {"q:v": "3", "bf": "2"})
MJPEG = Coding("mjpeg", {"q:v": "3"}, "yuvj420p")
CODINGS = (
    H264,
    Coding("libx264", {"bf": "8", "x264-params": "b-pyramid=strict"}, "yuv444p"),
    Coding("libx264", {"bf": "2"}, "yuvj420p"),
    Coding("libx264", {"x264-params": "intra-refresh=1:keyint=9:bframes=0"}),
    Coding("libx264", H264_OPEN.options, "yuv420p10le"),
    HEVC,
    HEVC_RADL,
    Coding("libx265", QUIET, "yuv420p10le"),
    AV1,
    Coding("libsvtav1", AV1.options, "yuv420p10le"),
    VP9,
    MPEG4,
    MJPEG,
)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


def encode(path: Path, frames: int, coding: Coding, fps: float = FPS, **options: Any) -> Path:
    images = [picture(0, step) for step in range(frames)]
    arguments = {"codec": coding.codec, "pix_fmt": coding.pix_fmt, "options": coding.options} | options
    encode_video(path, images, fps, **arguments)
    return path


def steps_of(video: VideoFile, numbers: list[int]) -> list[int]:
    """What the frames say of themselves, each asked for by itself."""
    return [read_picture(image)[1] for number in numbers for _, image in video.decode([number])]


def assert_any_order(path: Path, expected: list[int]) -> VideoFile:
    """Every frame is right after any other: forwards, backwards and in disorder."""
    video = VideoFile(path)
    assert len(video) == len(expected)
    order = [*np.random.default_rng(0).permutation(len(expected)).tolist(), *range(len(expected))]
    order += order[::-1]
    assert steps_of(video, order) == [expected[number] for number in order]
    return video


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    coding=st.sampled_from(CODINGS),
    gop=st.sampled_from([1, 2, 3, 7, 250]),
    fps=st.sampled_from([10.0, 29.97, 30000 / 1001, 50.0]),
    container=st.sampled_from(["mp4", "mp4", "matroska"]),
    asked=st.lists(st.integers(0, 18), min_size=1, max_size=30),
)
def test_every_frame_is_the_asked_one(coding: Coding, gop: int, fps: float, container: str, asked: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = encode(Path(folder, "a.mp4"), 19, coding, fps, gop=gop, container_format=container)
        video = VideoFile(path)
        np.testing.assert_allclose(video.index.times_s, np.arange(19) / fps, atol=1e-3)
        assert steps_of(video, asked) == asked
        video.close()


@pytest.mark.parametrize("coding", [H264, H264_IN_ORDER, HEVC, AV1, VP9, MPEG4])
@pytest.mark.parametrize(("cut", "tail"), [(5, 0), (8, 0), (0, 6)])
def test_frames_that_an_edit_list_cuts_off_are_not_counted(tmp_path: Path, coding: Coding, cut: int, tail: int) -> None:
    path = encode(tmp_path / "a.mp4", 24, coding, gop=8)
    edit(path, cut, tail)
    video = assert_any_order(path, list(range(cut, 24 - tail)))
    np.testing.assert_allclose(video.index.times_s, np.arange(24 - cut - tail) / FPS, atol=1e-3)
    assert video.index.hidden >= cut % 8
    assert not video.is_regular(len(video), FPS) or not video.index.hidden


def edit(path: Path, cut: int, tail: int) -> None:
    """Let an mp4 file's edit list leave out frames at the start and at the end."""
    content = bytearray(path.read_bytes())
    at = content.find(b"elst") + 12  # version, flags and count of entries come first
    duration, media_time = struct.unpack_from(">Ii", content, at)
    movie_scale, media_scale = (
        struct.unpack_from(">I", content, content.find(name) + 16)[0] for name in (b"mvhd", b"mdhd")
    )
    duration -= round((cut + tail) / FPS * movie_scale)
    struct.pack_into(">Ii", content, at, duration, media_time + round(cut / FPS * media_scale))
    path.write_bytes(content)


@pytest.mark.parametrize("coding", [H264_OPEN, HEVC, HEVC_RADL])
def test_leading_pictures_are_reached_from_the_key_frame_before(tmp_path: Path, coding: Coding) -> None:
    path = encode(tmp_path / "a.mp4", 30, coding, gop=7)
    video = assert_any_order(path, list(range(30)))
    index = video.index
    decoded_later = index.pts < index.entry_pts[np.minimum(index.entry + 1, len(index.entry_pts) - 1)]
    assert (index.entry_number[index.entry] <= np.arange(30)).all()
    assert decoded_later.any()


@pytest.mark.parametrize("coding", [H264, HEVC, AV1])
@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "frag_every_frame+empty_moov", "faststart"])
def test_fragments_and_an_index_in_front(tmp_path: Path, coding: Coding, flags: str) -> None:
    path = encode(tmp_path / "a.mp4", 20, coding, gop=6, container_options={"movflags": flags})
    assert_any_order(path, list(range(20)))


@pytest.mark.parametrize("container", ["mpegts", "avi", "mov", "matroska"])
def test_other_containers(tmp_path: Path, container: str) -> None:
    path = encode(tmp_path / "a.mp4", 20, MPEG4, gop=6, container_format=container)
    assert_any_order(path, list(range(20)))


@pytest.mark.parametrize("coding", [H264, HEVC, AV1, MPEG4])
def test_uneven_times_and_a_late_start_are_told_as_they_are(tmp_path: Path, coding: Coding) -> None:
    times_s = 0.5 + (np.arange(20) + np.random.default_rng(0).uniform(-0.4, 0.4, 20)) / FPS
    path = encode(tmp_path / "a.mp4", 20, coding, gop=6, times_s=times_s, container_format="matroska")
    video = assert_any_order(path, list(range(20)))
    np.testing.assert_allclose(video.index.times_s, times_s, atol=1e-3)
    assert not video.is_regular(20, FPS)


@pytest.mark.parametrize("place", ["first", "last"])
def test_sound_and_a_cover_are_passed_by(tmp_path: Path, place: str) -> None:
    encode(tmp_path / "plain.mp4", 20, H264, gop=6)
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "a.mp4"), "w") as target:
        template = source.streams.video[0]
        others = [lambda: target.add_stream("aac", rate=16_000, layout="mono"), lambda: _add_cover(target)]
        if place == "last":
            stream = target.add_stream_from_template(template, opaque=True)
        sound, cover = (add() for add in others)
        if place == "first":
            stream = target.add_stream_from_template(template, opaque=True)
        target.mux(cover.encode(av.VideoFrame.from_ndarray(picture(3, 99), format="rgb24")))
        target.mux(cover.encode())
        for packet in source.demux(template):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 10_000), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 16_000, 0
        target.mux(sound.encode(samples))
        target.mux(sound.encode())
    assert_any_order(tmp_path / "a.mp4", list(range(20)))


def _add_cover(target: av.container.OutputContainer) -> av.VideoStream:
    cover = target.add_stream("mjpeg", rate=FPS)
    cover.width = cover.height = 64
    cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
    return cover


def rewrite(source: Path, target: Path, change: Callable[[list[av.Packet]], Iterator[av.Packet]]) -> None:
    """Copy the packets of a file as `change` gives them."""
    with av.open(str(source)) as file, av.open(str(target), "w", format="mp4") as output:
        template = file.streams.video[0]
        stream = output.add_stream_from_template(template, opaque=True)
        packets = [packet for packet in file.demux(template) if packet.size]
        for packet in change(packets):
            packet.stream, packet.time_base = stream, template.time_base
            output.mux(packet)


def in_order_of_decoding(packets: list[av.Packet]) -> Iterator[av.Packet]:
    """Times as a writer gives them that numbers packets as they leave the encoder."""
    period = sorted(packet.pts for packet in packets)[1]
    for number, packet in enumerate(packets):
        packet.pts = packet.dts = number * period
        yield packet


@pytest.mark.parametrize("coding", [H264, H264_OPEN, HEVC, MPEG4])
def test_times_in_the_order_of_decoding_are_refused(tmp_path: Path, coding: Coding) -> None:
    encode(tmp_path / "plain.mp4", 20, coding, gop=7)
    rewrite(tmp_path / "plain.mp4", tmp_path / "a.mp4", in_order_of_decoding)
    with pytest.raises(
        DatasetError, match=r"a\.mp4: its frames do not follow each other in the order of their times.*ffmpeg"
    ):
        VideoFile(tmp_path / "a.mp4")


@pytest.mark.parametrize("true_times", [True, False])
def test_packed_b_frames_are_right_or_refused(tmp_path: Path, true_times: bool) -> None:
    """DivX put a B-frame into the packet of the frame before it, and an empty frame into its own."""

    def packed(packets: list[av.Packet]) -> Iterator[av.Packet]:
        period = sorted(packet.pts for packet in packets)[1]
        number, place = 0, 0
        while place < len(packets):
            first, *rest = packets[place : place + 2]
            pair = [first, *rest] if rest and rest[0].pts < first.pts else [first]
            contents = [b"".join(bytes(packet) for packet in pair)] + [b"\x00\x00\x01\xb6\x50\x00"] * (len(pair) - 1)
            if not number:
                contents[0] = b"\x00\x00\x01\xb2DivX503b1393p" + contents[0]
            for content, packet in zip(contents, pair, strict=True):
                new = av.Packet(content)
                new.dts = (number - true_times) * period
                new.pts = packet.pts if true_times else new.dts
                new.is_keyframe = content is contents[0] and packet.is_keyframe
                number += 1
                yield new
            place += len(pair)

    encode(tmp_path / "plain.mp4", 20, Coding("mpeg4", {"q:v": "3", "bf": "1"}), gop=7)
    rewrite(tmp_path / "plain.mp4", tmp_path / "a.mp4", packed)
    if true_times:
        assert_any_order(tmp_path / "a.mp4", list(range(20)))
    else:
        with pytest.raises(DatasetError, match="do not follow each other in the order of their times"):
            VideoFile(tmp_path / "a.mp4")


def test_two_frames_at_one_time_are_refused(tmp_path: Path) -> None:
    def doubled(packets: list[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            packet.dts -= 10 * packet.pts // 9 - packet.pts if packet.pts else 0
            packet.pts = min(packet.pts, packets[6].pts)
            packet.dts = min(packet.pts, packet.dts)
            yield packet

    encode(tmp_path / "plain.mp4", 8, H264_IN_ORDER)
    rewrite(tmp_path / "plain.mp4", tmp_path / "a.mp4", doubled)
    with pytest.raises(DatasetError, match=r"a\.mp4: two frames at 0\.200 s; encode the video again"):
        VideoFile(tmp_path / "a.mp4")


def test_a_key_frame_that_is_none_is_passed_by(tmp_path: Path) -> None:
    def marked(packets: list[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            packet.is_keyframe = True
            yield packet

    encode(tmp_path / "plain.mp4", 20, H264_IN_ORDER, gop=10)
    rewrite(tmp_path / "plain.mp4", tmp_path / "a.mp4", marked)
    video = assert_any_order(tmp_path / "a.mp4", list(range(20)))
    assert len(video.index.entry_pts) == 20


def test_turned_frames_are_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = 64
        stream.set_display_rotation(180)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, 0), format="rgb24")))
        container.mux(stream.encode())
    with pytest.raises(DatasetError, match=r"a\.mp4: its frames are to be turned by -?180 degrees.*ffmpeg"):
        list(VideoFile(tmp_path / "a.mp4").decode([0]))


@pytest.mark.parametrize(
    ("across", "down", "refused"), [(1, 1, ""), (2, 1, ""), (1, -1, "mirrored"), (-1, 1, "mirrored")]
)
def test_mirrored_frames_are_refused_before_any_is_read(tmp_path: Path, across: int, down: int, refused: str) -> None:
    path = encode(tmp_path / "a.mp4", 2, H264_IN_ORDER)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    for place, factor in ((0, across), (16, down)):
        data[matrix + place : matrix + place + 4] = struct.pack(">i", factor << 16)
    path.write_bytes(data)
    if not refused:
        return VideoFile(path).check_upright()
    with pytest.raises(DatasetError, match=rf"a\.mp4: its frames are to be {refused} when shown.*ffmpeg"):
        VideoFile(path).check_upright()
    with pytest.raises(DatasetError, match=refused):
        list(VideoFile(path).decode([0]))


@pytest.mark.parametrize("container_format", ["mp4", "matroska"])
def test_of_several_videos_in_a_file_the_one_marked_as_default_is_read(tmp_path: Path, container_format: str) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format=container_format) as container:
        streams = [container.add_stream("libx264", rate=rate, options={"bf": "0"}) for rate in (FPS, 2 * FPS)]
        for stream in streams:
            stream.width = stream.height = 64
        for episode, stream in enumerate(streams):
            for step in range(3 * (episode + 1)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(episode, step), format="rgb24")))
            container.mux(stream.encode())
    if container_format == "matroska":  # marks none
        with pytest.raises(DatasetError, match=r"a\.mp4: 2 videos in one file.*ffmpeg -i IN -map 0:v:0"):
            VideoFile(path)
        return
    video = VideoFile(path)
    assert [read_picture(image)[:2] for _, image in video.decode([0, 1, 2])] == [(0, 0), (0, 1), (0, 2)]


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n")
    with pytest.raises(DatasetError, match=r"a\.mp4: a git-lfs pointer, not the file itself; run `git lfs pull`"):
        VideoFile(path)


def test_a_forked_process_may_free_a_file_that_it_did_not_open(tmp_path: Path) -> None:
    """A thread of the file's would exist in the first process only, and freeing the file would wait for it."""
    video = VideoFile(encode(tmp_path / "a.mp4", 8, H264))
    before = {thread.name for thread in Path("/proc/self/task").iterdir()}
    assert steps_of(video, [5, 1]) == [5, 1]
    assert {thread.name for thread in Path("/proc/self/task").iterdir()} <= before
    collected = weakref.ref(video)
    del video
    assert collected() is None


EIGHT_BIT, TEN_BIT = ("yuv420p", "yuv444p"), ("yuv420p10le", "yuv444p10le")
SPACES = {None: (Colorspace.ITU601, 2), "bt601": (Colorspace.ITU601, 6), "bt709": (Colorspace.ITU709, 1)}


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("space", [None, "bt601", "bt709"])
@pytest.mark.parametrize(
    ("coding", "pix_fmt"),
    [
        *((coding, pix_fmt) for coding in (H264, HEVC) for pix_fmt in EIGHT_BIT + TEN_BIT),
        *((AV1, pix_fmt) for pix_fmt in ("yuv420p", "yuv420p10le")),
        *((VP9, pix_fmt) for pix_fmt in EIGHT_BIT),
    ],
)
def test_colours_are_those_encoded(
    tmp_path: Path, coding: Coding, pix_fmt: str, space: str | None, is_full: bool
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
    image = colours.reshape(4, 4, 3).repeat(16, axis=0).repeat(16, axis=1)
    matrix, tag = SPACES[space]
    wanted_range = ColorRange.JPEG if is_full else ColorRange.MPEG
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        in_order = {"crf": "1", "bf": "0"}  # x265 delays frames for B-frames by times that a single frame never sets
        stream = container.add_stream(coding.codec, rate=FPS, options=coding.options | in_order)
        stream.width = stream.height = 64
        stream.pix_fmt = pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, int(wanted_range)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=wanted_range)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ((_, decoded),) = VideoFile(tmp_path / "a.mp4").decode([0])
    off = np.abs(decoded.astype(int) - image).reshape(4, 16, 4, 16, 3)[:, 4:12, :, 4:12]
    assert off.max() <= 3


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
def test_joined_files_show_each_frame_at_its_time(tmp_path: Path, codec: Any) -> None:
    config = video_encode.VideoConfig(codec, preset="12" if codec == "libsvtav1" else "veryfast")
    parts, steps = [], []
    for number, length in enumerate((5, 1, 4)):
        steps += list(range(100 * number, 100 * number + length))
        images = np.stack([picture(0, step) for step in steps[-length:]])
        parts.append(tmp_path / f"{number}.mp4")
        parts[-1].write_bytes(video_encode.encode(images, 29.97, config))
        assert VideoFile(parts[-1]).is_regular(length, 29.97)
    video_encode.join(parts, [5, 1, 4], 29.97, tmp_path / "a.mp4")
    video = assert_any_order(tmp_path / "a.mp4", steps)
    assert video.is_regular(10, 29.97)
    np.testing.assert_allclose(video.index.times_s, np.arange(10) / float(Fraction(29.97).limit_denominator(1001)))
