"""Everything that writes: how it is written into a folder, and how it is read from it.

A new writer joins by a row of `WRITERS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from tests import conversions, libero_recordings, replays
from tests.recordings import episode, record
from tests.toy import ACTION, EMBODIMENT, STATE, WINDOWS, LinearPolicy, ToyStream

from tempovla.control.exported.sidecar import Sidecar, file_sha256, sidecar_path
from tempovla.control.exported.signature import TensorSpec
from tempovla.data.convert import convert
from tempovla.data.episodic import episode_file
from tempovla.data.kept_statistics import KeptStatistics
from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.lerobot_meta import load_meta
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.data.open import open_source
from tempovla.data.replay import ReplaySource
from tempovla.data.statistics import of_values
from tempovla.data.writer import DatasetWriter
from tempovla.export.exporter import _publish
from tempovla.model.vla.pretrained_io import read_config, read_weights, save_model
from tempovla.model.vlm.convert_weights import convert_weights
from tempovla.recipe.datasets.encoding_cache import EncodingCache, EncodingKey, Encodings
from tempovla.recipe.evaluation import videos
from tempovla.recipe.evaluation.journal import EpisodeJournal
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.stage_log import StageLog
from tempovla.report.page import write_page
from tempovla.report.video import encode_mp4
from tempovla.rollout.recorder import RolloutRecorder
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec
from tempovla.storage.json_files import write_json
from tempovla.storage.lock import holding
from tempovla.storage.whole import working_folder
from tempovla.timeline import Bundle
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.bundle_path import LATEST
from tempovla.training.checkpoint import Checkpoint, CheckpointFolder
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.metrics import read_metrics
from tempovla.transform.text_model import TransformersTextEmbedder

EPISODES = 3
FEATURES = {
    STATE: Feature("float32", (2,)),
    "observation.images.front": Feature("video", (16, 16, 3)),
    "observation.images.wrist": Feature("image", (8, 8, 3)),
}


@dataclass(frozen=True)
class Writer:
    """How something is written into a folder, and read from it.

    Attributes:
        write: writes the version 1 or 2 of it.
        read: its content as plain values, or bytes; None if it is not there.
        grows: it is written in steps, each of which counts, and the same call goes on with those that are missing; so
            there is no version 1 to be replaced.
        needs: makes what the writer starts from.
        spreads: after a kill the same content may lie in other files than without one.
        once: it is not written again where it is there, so that the lock's file of a dead writer may stay.
    """

    write: Callable[[Path, int], object]
    read: Callable[[Path], Any]
    grows: bool = False
    needs: Callable[[Path], object] = lambda folder: None
    spreads: bool = False
    once: bool = False


def weights(version: int) -> dict[str, torch.Tensor]:
    return {"w": torch.full((3,), float(version))}


def toy_bundle(version: int) -> Bundle:
    assets = {"words_1/words.json": b"[%d]" % version}
    transform = {"steps": [], "version": version}
    return Bundle("toy", {}, WINDOWS, EMBODIMENT, transform, weights(version), {"seed": version}, assets)


def read_bundle(folder: Path) -> Any:
    if not (folder / "bundle").exists():
        return None
    found = Bundle.load(folder / "bundle")
    return found.weights["w"].tolist(), found.transform, found.provenance, dict(found.assets)


@dataclass(frozen=True)
class TinyConfig:
    size: int = 1


def read_model(folder: Path) -> Any:
    if not (folder / "model").exists():
        return None
    return read_config(folder / "model", TinyConfig), read_weights(folder / "model")["w"].tolist()


def train(folder: Path, version: int) -> None:
    config = TrainConfig(
        train_steps=EPISODES,
        save_interval=0,
        save_interval_steps=1,
        keep_every=2,
        log_interval=1,
        num_threads=1,
        validation_interval=2,
    )
    policy = LinearPolicy(dropout=0.2)
    latest = folder / "run" / LATEST
    resume = latest if latest.exists() else None
    validation = [next(iter(ToyStream()))]
    fit(policy, ToyStream(), config, folder / "run", bundle=policy.bundle, validation=validation, resume=resume)


def read_run(folder: Path) -> Any:
    """Of every checkpoint that is there and its predecessors: all three are the same as in a run that ends."""
    latest = folder / "run" / LATEST
    for path in CheckpointFolder(folder / "run").steps().values():
        Checkpoint.load(path)
        Bundle.load(path)
    if not latest.exists():
        assert not CheckpointFolder(folder / "run").steps()
        return []
    step = Checkpoint.load(latest).record["train_step"]
    lines = [(line["train_step"], line["total"], line.get("val_total")) for line in read_metrics(folder / "run")]
    return [*lines[: step - (step == EPISODES)], *([_digest(latest)] if step == EPISODES else [])]


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "training.safetensors").read_bytes()).hexdigest()


def write_dataset(folder: Path, version: int) -> None:
    with DatasetWriter(folder / "data", FEATURES, 10, resume=True, recording={"by": "tests"}) as writer:
        while len(writer) < EPISODES:
            writer.add_episode(episode(len(writer), 3, FEATURES), f"task {len(writer) % 2}")


def read_dataset(folder: Path) -> Any:
    if not (folder / "data" / "meta" / "info.json").exists():
        return []
    source = open_dataset(folder / "data")
    if not len(source):
        return []
    source.check()
    return [
        (source.episode(index).length, [source.read(index, key, range(3)).value.tobytes() for key in FEATURES])
        for index in range(len(source))
    ]


def write_libero(folder: Path, version: int) -> None:
    with LiberoHdf5Writer(folder / "libero", resume=True) as writer:
        for task in (libero_recordings.MILK,):
            for number in range(writer.episodes_written(task), EPISODES):
                frames = libero_recordings.episode(number, 4, 16)
                writer.add_episode(task, "take the milk", frames, libero_recordings.extras(4))


def read_libero(folder: Path) -> Any:
    if not any((folder / "libero").glob("*.hdf5")):
        return []
    source = open_source(folder / "libero")
    return [source.read(index, ACTION, range(4)).value.tobytes() for index in range(len(source))]


def write_replay(folder: Path, version: int) -> None:
    """As a run does that is taken up again: it goes back to what it had, and on from there."""
    place = folder / "replay"
    is_begun = (place / "replay.json").exists()
    begun = ReplaySource.open(place, replays.FACTS) if is_begun else replays.create(place)
    with begun as replay:
        replay.truncate(len(replay) // 2)
        while len(replay) < EPISODES:
            replay.append(replays.frames(len(replay), 3), f"do {len(replay)}")


def read_replay(folder: Path) -> Any:
    if not (folder / "replay" / "replay.json").exists():
        return []
    source = ReplaySource.open(folder / "replay", read_only=True)
    return [source.read(index, STATE, range(3)).value.tobytes() for index in range(len(source))]


def read_converted(folder: Path) -> Any:
    if not (folder / "converted").exists():
        return None
    return read_dataset_at(folder / "converted")


def read_dataset_at(root: Path) -> Any:
    source = open_dataset(root)
    source.check()
    return [source.read(index, STATE, range(3)).value.tobytes() for index in range(len(source))]


def export(folder: Path, version: int) -> None:
    target = folder / "out" / "policy.pt"
    with holding(target, "exports", remedy="wait"), working_folder(target) as staging:
        file = staging / target.name
        file.write_bytes(b"graph %d" % version)
        spec = TensorSpec("action", (4, 2), "float32")
        bundle = toy_bundle(version)
        facts = (bundle.policy, bundle.windows, bundle.embodiment, bundle.transform, bundle.provenance)
        sidecar = Sidecar("torchscript", (spec,), spec, *facts, "c" * 64, file_sha256(file), {}, bundle.assets)
        sidecar.save(sidecar_path(file))
        _publish(staging, target)


def read_export(folder: Path) -> Any:
    if not (folder / "out" / "policy.pt").exists():
        return None
    sidecar = Sidecar.load(folder / "out" / "policy.pt")
    return sidecar.transform, dict(sidecar.assets)


def results(version: int = 1) -> list[EpisodeResult]:
    spec = EpisodeSpec("milk", 0, "take it")
    pictures = np.full((4, 16, 16, 3), 40 * version, np.uint8)
    arrays = {"observation.images.front": pictures, STATE: np.zeros((4, 9)), ACTION: np.zeros((4, 7))}
    ends = [EpisodeResult(replace(spec, seed=seed), "take it", True, 4, 0.5, arrays) for seed in range(EPISODES)]
    return [replace(end, actions=np.full((1, 2), 0.1, np.float32)) for end in ends]


def evaluate(folder: Path, version: int) -> None:
    file = folder / "results.json"
    with Outputs(results=file).held(), EpisodeJournal(folder / "results.partial.jsonl", {"seed": 1}) as journal:
        for result in results():
            if result.spec not in journal.episodes:
                journal.add(replace(result, recording=None))
        write_json(file.with_suffix(".timing.json"), {"seconds": 1})
        write_json(file, {"episodes": [episode.to_json() for episode in journal.episodes.values()]})


def read_evaluation(folder: Path) -> Any:
    file, journal = folder / "results.json", folder / "results.partial.jsonl"
    if file.exists():
        assert json.loads(file.with_suffix(".timing.json").read_text()) == {"seconds": 1}
        return [entry["seed"] for entry in json.loads(file.read_text())["episodes"]]
    return [spec.seed for spec in EpisodeJournal(journal, {"seed": 1}).episodes]


def record_rollouts(folder: Path, version: int) -> None:
    """As an evaluation does that keeps its results and its recordings."""
    with EpisodeJournal(folder / "results.partial.jsonl", {"seed": 1}) as journal:
        earlier = list(journal.episodes.values())
        with RolloutRecorder(folder / "recorded", LIBERO_PANDA, {"by": "tests"}, earlier) as recorder:
            journal.keep_first(recorder.recorded)
            for result in results():
                if result.spec not in journal.episodes:
                    journal.add(replace(result, recording=None))
                    recorder.add(result)


def read_recorded(folder: Path) -> Any:
    if not (folder / "recorded" / "meta" / "info.json").exists():
        return []
    source = open_dataset(folder / "recorded")
    if not len(source):
        return []
    source.check()
    return [source.read(index, ACTION, range(4)).value.tobytes() for index in range(len(source))]


def film(folder: Path, version: int) -> None:
    videos.write_films(results(version)[:2], folder / "films", LIBERO_PANDA)


def read_films(folder: Path) -> Any:
    index = folder / "films" / "index.json"
    if not index.exists():
        return None
    return [shade(folder / "films" / entry["file"]) for entry in json.loads(index.read_text())]


def shade(path: Path) -> Any:
    """How bright the first picture of a film is, and how many there are."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return round(float(pictures[0].mean()), -1), len(pictures)


def shaded(folder: Path, version: int) -> None:
    encode_mp4(np.full((2, 16, 16, 3), 50 * version, np.uint8), folder / "film.mp4", 10.0)


def write_stages(folder: Path, version: int) -> None:
    log = StageLog(folder / "demo" / "stages.json")
    for name in ("collect", "train", "report"):
        if not log.is_done(name):
            with log.stage(name):
                pass


def read_stages(folder: Path) -> Any:
    path = folder / "demo" / "stages.json"
    return [name for name, stage in json.loads(path.read_text()).items() if stage["done"]] if path.exists() else []


ENCODING_KEY = EncodingKey("e" * 64, "d" * 64, "t" * 64, "float32", "0")


def read_encodings(folder: Path) -> Any:
    found = EncodingCache(folder / "cache", ENCODING_KEY).read(2, 2)
    return None if found is None else found.z.tolist()


def embedder(folder: Path) -> TransformersTextEmbedder:
    found = TransformersTextEmbedder.__new__(TransformersTextEmbedder)
    found.cache_folder = folder / "sentences"
    return found


def keep_statistics(folder: Path, version: int) -> None:
    entry = of_values(np.arange(12.0).reshape(6, 2) * version)
    assert KeptStatistics(load_meta(folder / "source")).keep({STATE: entry}) is not None


def read_statistics(folder: Path) -> Any:
    return {key: entry["max"].tolist() for key, entry in KeptStatistics(load_meta(folder / "source")).load().items()}


def pickled(folder: Path) -> None:
    names = {f"pytorch_model-0000{number}-of-00002.bin": f"w{number}" for number in (1, 2)}
    for file, name in names.items():
        torch.save({name: torch.ones(2)}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {n: f for f, n in names.items()}}))


def convert_pickles(folder: Path, version: int) -> None:
    if not (folder / "model.safetensors.index.json").exists():
        convert_weights(folder)


def read_safetensors(folder: Path) -> Any:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return None
    places = json.loads(index.read_text())["weight_map"]
    return sorted((name, (folder / file).stat().st_size) for name, file in places.items())


def content(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        return (folder / name).read_bytes() if (folder / name).exists() else None

    return read


def of_memory(folder: Path, version: int) -> None:
    part = {name: np.zeros((2, size), np.float32) for name, size in (("obs", 2), ("action", 1))}
    part |= {"reward": np.full(2, version, np.float32), "done": np.zeros(2, np.bool_)}
    episode_file.write(folder / "memory.safetensors", episode_file.Sizes(2, 1, 4, 8, 3), [part], part)


def source_dataset(folder: Path) -> None:
    record(folder / "source", (3, 3), FEATURES)


WRITERS = {
    "bundle": Writer(lambda folder, version: toy_bundle(version).save(folder / "bundle"), read_bundle),
    "model": Writer(lambda folder, v: save_model(folder / "model", "tiny", TinyConfig(v), weights(v)), read_model),
    "training": Writer(train, read_run, grows=True),
    "dataset": Writer(write_dataset, read_dataset, grows=True, spreads=True),
    "libero": Writer(write_libero, read_libero, grows=True),
    "convert": Writer(
        lambda folder, v: None if (folder / "converted").exists() else convert(folder / "source", folder / "converted"),
        read_converted,
        grows=True,
        needs=source_dataset,
        once=True,
    ),
    "convert v2.1": Writer(
        conversions.convert_v21, read_converted, grows=True, needs=conversions.v21_dataset, once=True
    ),
    "convert openvla": Writer(
        conversions.convert_openvla, conversions.read_openvla, needs=conversions.published_openvla
    ),
    "export": Writer(export, read_export),
    "evaluation": Writer(evaluate, read_evaluation, grows=True),
    "recordings": Writer(record_rollouts, read_recorded, grows=True, spreads=True),
    "films": Writer(film, read_films),
    "film": Writer(shaded, lambda folder: shade(folder / "film.mp4") if (folder / "film.mp4").exists() else None),
    "report": Writer(lambda folder, v: write_page(f"<p>{v}", folder / "r" / "report.html"), content("r/report.html")),
    "stages": Writer(write_stages, read_stages, grows=True),
    "encodings": Writer(
        lambda folder, v: EncodingCache(folder / "cache", ENCODING_KEY).write(
            Encodings(np.full((2, 2), v, np.float32), np.ones(2, np.bool_)), {}
        ),
        read_encodings,
    ),
    "sentences": Writer(
        lambda folder, v: embedder(folder)._keep(folder / "sentences" / "a.npy", np.full(3, v, np.float32)),
        content("sentences/a.npy"),
    ),
    "statistics": Writer(keep_statistics, read_statistics, needs=source_dataset),
    "pickles": Writer(convert_pickles, read_safetensors, grows=True, needs=pickled, once=True),
    "replay": Writer(write_replay, read_replay, grows=True),
    "memory": Writer(of_memory, content("memory.safetensors")),
}
