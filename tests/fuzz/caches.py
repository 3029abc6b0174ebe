"""What is read in the midst of long commands: caches, and the journal of an evaluation."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def journal(folder: Path) -> None:
    """The episodes of an evaluation that was stopped."""
    from tempovla.recipe.evaluation.journal import EpisodeJournal
    from tempovla.rollout.runner import EpisodeResult, EpisodeSpec

    journal = EpisodeJournal(folder / "results.partial.jsonl", {"checkpoint": "abc", "simulator": {"cameras": "front"}})
    for seed in range(3):
        spec = EpisodeSpec("push-v3", seed, "push it", init_state=None)
        actions = np.zeros((2, 2), np.float32)
        journal.add(EpisodeResult(spec, "push it", True, 2, 0.5, actions, policy_calls=1, policy_s=0.25))
    journal.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def read_journal(folder: Path) -> None:
    """Go on with them."""
    from tempovla.recipe.evaluation.journal import EpisodeJournal

    identity = {"checkpoint": "abc", "simulator": {"cameras": "front"}}
    EpisodeJournal(folder / "results.partial.jsonl", identity)


def _encoding_key() -> object:
    from tempovla.recipe.datasets.encoding_cache import EncodingKey

    return EncodingKey("e" * 64, "d" * 64, "t" * 64, "float32", "0")


def encodings(folder: Path) -> None:
    """Encodings of three steps."""
    from tempovla.recipe.datasets.encoding_cache import EncodingCache, Encodings

    found = Encodings(np.zeros((3, 2), np.float32), np.ones(3, bool))
    EncodingCache(folder, _encoding_key()).write(found, {})  # type: ignore[arg-type]


def read_encodings(folder: Path) -> None:
    """Read them."""
    from tempovla.recipe.datasets.encoding_cache import EncodingCache

    EncodingCache(folder, _encoding_key()).read(3, 2)  # type: ignore[arg-type]


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Let `folder` be the cache."""
    before = os.environ.get("TEMPOVLA_CACHE")
    os.environ["TEMPOVLA_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TEMPOVLA_CACHE"]
        if before is not None:
            os.environ["TEMPOVLA_CACHE"] = before


SENTENCES = ("open the drawer", "push the button")


def save_text_model(folder: Path) -> Path:
    """A text model of two layers, with its tokenizer."""
    from tests.tiny_models import build_bert, save_tokenizer

    build_bert().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def sentences(folder: Path) -> None:
    """A text model, and the vectors it gave, in the cache."""
    save_text_model(folder / "text")
    read_sentences(folder)


def read_sentences(folder: Path) -> None:
    """Vectors out of the cache; of the model where the cache does not have them."""
    from tempovla.transform.text_model import TransformersTextEmbedder

    with cache_in(folder / "cache"):
        TransformersTextEmbedder(str(folder / "text")).embed(SENTENCES)


def digests(folder: Path) -> None:
    """What is remembered of the files of a dataset."""
    (folder / "data").mkdir(parents=True)
    seen = {}
    for number in range(64):
        path = folder / "data" / f"{number}.parquet"
        path.write_bytes(b"data")
        seen[path.name] = [4, 1, 1, number, 1, f"4-{number:032x}"]
    table = {"machine": socket.gethostname(), "files": seen}
    (folder / "table.json").write_text(json.dumps(table))


def read_digests(folder: Path) -> None:
    """Digests of the files, with the table in the cache."""
    from tempovla.data.digests import file_digests

    root = folder / "data"
    place = folder / "cache" / "digests"
    place.mkdir(parents=True)
    if os.path.lexists(folder / "table.json"):
        name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:32]
        (folder / "table.json").rename(place / f"{name}.json")
    with cache_in(folder / "cache"):
        file_digests(root, {path.name: path for path in sorted(root.iterdir())})


def stages(folder: Path) -> None:
    """What a demo that was stopped has done."""
    from tempovla.recipe.stage_log import StageLog

    log = StageLog(folder / "stages.json")
    for name in ("collect", "train"):
        with log.stage(name):
            pass


def read_stages(folder: Path) -> None:
    """Go on with it."""
    from tempovla.recipe.stage_log import StageLog

    log = StageLog(folder / "stages.json")
    with log.stage("train"):
        pass
    log.as_list()
    log.total("cpu_seconds")


def replay(folder: Path) -> None:
    """Two episodes of a replay."""
    from tests.replays import create

    create(folder / "replay", (4, 3)).close()


def read_replay(folder: Path) -> None:
    """Read everything, and go on with it."""
    from tests.replays import FACTS, STREAMS, frames

    from tempovla.data.replay import ReplaySource

    with ReplaySource.open(folder / "replay", FACTS, STREAMS) as source:
        for episode in range(len(source)):
            length = source.episode(episode).length
            for key in STREAMS:
                source.read(episode, key, range(length))
        source.append(frames(2, 3), "do 2")
        dict(source.statistics)
    (folder / "replay" / f"episode_{len(source) - 1:08d}.safetensors").unlink()


FUNCTIONS: dict[str, Callable[[Path], object]] = {
    "read_journal": read_journal,
    "read_encodings": read_encodings,
    "read_sentences": read_sentences,
    "read_digests": read_digests,
    "read_stages": read_stages,
    "read_replay": read_replay,
}
"""What a command that begins with `call` runs, by name."""
