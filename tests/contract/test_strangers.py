"""The law of strangers' files: a name in a file leads nowhere but into that file's own folder, whoever reads or writes.

Each case builds a sound thing, puts a hostile name where it has a name, and reads or writes it. It must be refused in
one line; nothing beside its folder may be told, changed or made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file
from tests import libero_recordings, recordings
from tests.foreign import FRONT, Foreign, edit_json, encode_image, write_v21, write_v30

from tempovla.data.conversations import read_conversations
from tempovla.data.convert import convert
from tempovla.data.open import open_source
from tempovla.data.writer import DatasetWriter
from tempovla.report.run import read_clips
from tempovla.timeline.assets import read_assets
from tempovla.timeline.model_folder import safetensors_of

CANARY = "canary-content"
LENGTHS = (2,)


def read_frames(root: Path) -> None:
    """Everything that training would look at."""
    source = open_source(root)
    source.check()
    source.read(0, FRONT, range(2))


def template(version: Callable[[Path, Foreign], Path], name: str) -> Callable[[Path, str], Callable[[], Any]]:
    """`info.json` has the hostile name as one of its templates."""

    def build(root: Path, hostile: str) -> Callable[[], Any]:
        version(root, Foreign(lengths=LENGTHS))
        edit_json(root / "meta/info.json", lambda info: info.update({name: hostile}))
        return lambda: read_frames(root)

    return build


def camera(act: Callable[[Path], Any]) -> Callable[[Path, str], Callable[[], Any]]:
    """A v2.1 dataset has a camera of the hostile name."""

    def build(root: Path, hostile: str) -> Callable[[], Any]:
        write_v21(root, Foreign(lengths=LENGTHS))

        def rename(info: Any) -> None:
            info["features"][hostile] = info["features"].pop(FRONT)

        edit_json(root / "meta/info.json", rename)
        return lambda: act(root)

    return build


def picture(root: Path, hostile: str) -> Callable[[], Any]:
    """A row names the file of its picture."""

    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return usual | {FRONT: pa.array([{"bytes": None, "path": hostile}] * length, kind)}

    write_v21(root, Foreign(lengths=LENGTHS, storage="image", columns=columns))
    return lambda: read_frames(root)


def recorded(root: Path, hostile: str) -> Callable[[], Any]:
    """A camera of an episode that is written has the hostile name."""
    features = {hostile: recordings.FEATURES[recordings.FRONT]}

    def write() -> None:
        with DatasetWriter(root / "new", features, 10) as writer:
            writer.add_episode(recordings.episode(0, 2, features), "task")

    return write


def copied(root: Path, hostile: str) -> Callable[[], Any]:
    """A dataset that is copied holds a link to the hostile name."""
    write_v30(root, Foreign(lengths=LENGTHS))
    (root / "data" / "extra").symlink_to(hostile if hostile[0] == "/" else f"../{hostile}")
    return lambda: convert(root, root.with_name("copy"))


def clip(root: Path, hostile: str) -> Callable[[], Any]:
    """A run's list of films names one."""
    (root / "rollouts").mkdir(parents=True, exist_ok=True)
    entry = {"task": "a", "success": True, "file": hostile}
    (root / "rollouts" / "index.json").write_text(json.dumps([entry]))
    return lambda: read_clips(root)


def asset(root: Path, hostile: str) -> Callable[[], Any]:
    """A bundle names a file of its tokenizer."""
    root.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    return lambda: read_assets(root, {hostile: digest}, remedy="copy the bundle again")


def shard(root: Path, hostile: str) -> Callable[[], Any]:
    """An index of weights names a file of them."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": hostile}}))
    return lambda: safetensors_of(root, "model")


def conversation(root: Path, hostile: str) -> Callable[[], Any]:
    """A conversation names its image."""
    root.mkdir(parents=True, exist_ok=True)
    said = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "that"}]
    (root / "said.jsonl").write_text(json.dumps({"image": hostile, "conversations": said}) + "\n")
    return lambda: read_conversations(root / "said.jsonl")


def demonstrations(change: Callable[[h5py.Group, str], None]) -> Callable[[Path, str], Callable[[], Any]]:
    """A LIBERO file names another file."""

    def build(root: Path, hostile: str) -> Callable[[], Any]:
        libero_recordings.record(root, (3,))
        (path,) = root.glob("*.hdf5")
        with h5py.File(path, "a") as file:
            change(file["data/demo_0/obs"], hostile)
        return lambda: open_source(root)

    return build


def external_link(obs: h5py.Group, hostile: str) -> None:
    del obs["agentview_rgb"]
    obs["agentview_rgb"] = h5py.ExternalLink(hostile, "/secret")


def virtual(obs: h5py.Group, hostile: str) -> None:
    layout = h5py.VirtualLayout(shape=(3, 16, 16, 3), dtype=np.uint8)
    layout[:] = h5py.VirtualSource(hostile, "secret", shape=(3, 16, 16, 3))
    del obs["agentview_rgb"]
    obs.create_virtual_dataset("agentview_rgb", layout)


def raw_bytes(obs: h5py.Group, hostile: str) -> None:
    del obs["agentview_rgb"]
    size = 3 * 16 * 16 * 3
    obs.create_dataset("agentview_rgb", (3, 16, 16, 3), np.uint8, external=[(hostile, 0, size)])


CASES: dict[str, Callable[[Path, str], Callable[[], Any]]] = {
    "data_path, v2.1": template(write_v21, "data_path"),
    "data_path, v3.0": template(write_v30, "data_path"),
    "video_path, v2.1": template(write_v21, "video_path"),
    "video_path, v3.0": template(write_v30, "video_path"),
    "camera, read": camera(read_frames),
    "camera, converted": camera(lambda root: convert(root, root.with_name("converted"))),
    "camera, recorded": recorded,
    "picture of a row": picture,
    "link in what is copied": copied,
    "film of a report": clip,
    "asset of a bundle": asset,
    "shard of weights": shard,
    "image of a conversation": conversation,
    "external link": demonstrations(external_link),
    "virtual dataset": demonstrations(virtual),
    "raw bytes elsewhere": demonstrations(raw_bytes),
}

HOSTILE = {
    "up": "../victim/secret.txt",
    "up from below": "data/../../victim/secret.txt",
    "absolute": "{victim}/secret.txt",
    "parent": "..",
}


def told_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("case", "hostile"),
    # A link to a folder that it lies in is left out of a copy.
    [
        (case, hostile)
        for case in CASES
        for hostile in HOSTILE
        if (case, hostile) != ("link in what is copied", "parent")
    ],
)
def test_a_hostile_name_is_refused_in_one_line(tmp_path, monkeypatch, case, hostile):
    root, victim = tmp_path / "stranger", tmp_path / "victim"
    victim.mkdir()
    (victim / "secret.txt").write_text(CANARY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = told_of(victim)
    act = CASES[case](root, HOSTILE[hostile].format(victim=victim))
    with pytest.raises(ValueError, match=r".+") as refused:
        act()
    said = str(refused.value)
    assert "\n" not in said
    assert CANARY not in said
    assert told_of(victim) == before
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["elsewhere", "stranger", "victim"],
        ["elsewhere", "victim"],
    )
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["picture of a row", "shard of weights", "asset of a bundle", "film of a report"])
def test_a_link_that_leads_out_is_refused_too(tmp_path, name):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "secret.png").write_bytes(encode_image(np.zeros((16, 16, 3), np.uint8)))
    (victim / "secret.json").write_text(CANARY)
    save_file({"weight": np.zeros(1)}, victim / "secret.safetensors")
    ending = {"shard of weights": "safetensors", "asset of a bundle": "json"}.get(name, "png")
    root = tmp_path / "stranger"
    act = CASES[name](root, f"away/secret.{ending}")
    (root / "rollouts" if name == "film of a report" else root).joinpath("away").symlink_to(victim)
    with pytest.raises(ValueError, match=r"a link that leads out of .*TEMPOVLA_LINKED_FOLDERS"):
        act()


@pytest.mark.parametrize("name", ["data/chunk-000/file-000.parquet", "meta/info.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    root = write_v30(tmp_path / "set", Foreign(lengths=LENGTHS))
    (root / name).unlink()
    os.mkfifo(root / name)
    with pytest.raises(ValueError, match=r"is a named pipe, not a file|it has no meta/info.json"):
        read_frames(root)


@pytest.mark.parametrize("layout", [write_v21, write_v30])
def test_a_dataset_of_links_into_the_hubs_cache_is_read(tmp_path, layout):
    whole = layout(tmp_path / "whole", Foreign(lengths=LENGTHS))
    home = tmp_path / "datasets--someone--drawers"
    snapshot, blobs = home / "snapshots" / "0123abc", home / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        link = snapshot / path.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    read_frames(snapshot)
    if layout is write_v30:
        assert convert(snapshot, tmp_path / "copy") == 1


def test_a_list_of_files_is_no_video(tmp_path):
    """FFmpeg would take it for one, and read what it names."""
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS))
    (video,) = root.glob("videos/*/*/*.mp4")
    video.rename(tmp_path / "secret.mp4")
    for text in (
        f"ffconcat version 1.0\nfile {tmp_path / 'secret.mp4'}\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'secret.mp4'}\n#EXT-X-ENDLIST\n",
    ):
        video.write_text(text)
        with pytest.raises(ValueError, match=r"no complete video file"):
            read_frames(root)
