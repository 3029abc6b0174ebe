"""Conversion of any dataset to LeRobot v3.0."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache
from tempovla.data.carry import Carrier, with_unit
from tempovla.data.errors import DatasetError
from tempovla.data.files import STAGING_NAME, Staging
from tempovla.data.joined import recorded
from tempovla.data.layout import DatasetMeta
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.libero_layout import LiberoImages
from tempovla.data.modality import MODALITY_PATH
from tempovla.data.new_folder import check_target, new_folder
from tempovla.data.open import open_source
from tempovla.data.plausibility import statistics_problems
from tempovla.data.statistics import Statistic
from tempovla.data.stored_statistics import episode_statistics
from tempovla.data.writer import DatasetWriter, WriterConfig, infer_features
from tempovla.storage.paths import Inside
from tempovla.storage.strays import LOCK_NAME
from tempovla.timeline.source import EpisodeSource

LOGGER = logging.getLogger(__name__)

_CACHE_BYTES = 64 << 20


def convert(
    source: str | Path,
    target: str | Path,
    config: WriterConfig | None = None,
    *,
    depth_unit: str | None = None,
    libero_images: LiberoImages = "auto",
) -> int:
    """Write a dataset as v3.0, and return the number of its episodes.

    The source is checked first as `inspection.inspect` checks it. Of v2.1, videos are copied as they are; only one that
    has other frames than its episode, or cannot be put into an mp4 file as it is, is encoded again. Columns that cannot
    be read are carried along as they are where that is possible; the others are left out with one line of log. What is
    v3.0 already, such as recorded rollouts, is copied. LIBERO's pictures become videos, upright. The source is never
    written to.

    Args:
        source: the dataset.
        target: folder that does not exist or is empty; it appears once all is written.
        config: layout of the files.
        depth_unit: unit of depth pictures where the dataset does not declare it; the target then declares it.
        libero_images: orientation of pictures in LIBERO's files.

    Raises:
        DatasetError: if `source` is not a sound dataset, or `target` is not empty or not apart from it.
    """
    target = Path(target)
    check_target(Path(source), target)
    opened = recorded(open_source(source, depth_unit=depth_unit, libero_images=libero_images))
    if not isinstance(opened, LeRobotSource):
        with new_folder(target) as folder:
            return _record(opened, folder, config)
    opened = opened.with_cache(ByteCache(_CACHE_BYTES))
    problems = opened.check()
    if opened.meta.version == "v3.0":  # other datasets get statistics of their rows
        for line in statistics_problems(opened):
            raise DatasetError(line)
    with new_folder(target) as folder:
        if opened.meta.version == "v3.0":
            left_out = _left_out(opened.meta.root)
            shutil.copytree(
                opened.meta.root, folder, ignore=left_out, ignore_dangling_symlinks=True, dirs_exist_ok=True
            )
            _tell_units(opened.meta, folder)
            return len(opened)
        return _rewrite(opened, problems, folder, config or WriterConfig())


def _left_out(root: Path) -> Callable[[str, Sequence[str]], list[str]]:
    """What a copy of a dataset leaves out: links to a folder that they lie in, as what they lead to is copied already;
    and what only a writer needs.

    A link that leads out of the dataset is not followed, but refused.
    """
    inside = Inside(root, DatasetError)

    def left_out(folder: str, names: Sequence[str]) -> list[str]:
        place = Path(folder).resolve()
        found = [name for name in names if name in (LOCK_NAME, STAGING_NAME)]
        for path in (Path(folder, name) for name in names if name not in found):
            if path.is_symlink() and path.is_dir() and path.resolve() in (place, *place.parents):
                found.append(path.name)
            elif path.exists():
                inside.check_links(path)
        return found

    return left_out


def _tell_units(meta: DatasetMeta, folder: Path) -> None:
    """Write the unit of depth pictures that was asked for into a copy, where the dataset does not tell it."""
    told = {key: with_unit(entry, meta.features.get(key)) for key, entry in meta.info["features"].items()}
    if told != meta.info["features"]:
        Staging(folder).publish_json({**meta.info, "features": told}, folder / "meta" / "info.json", indent=4)
        Staging(folder).clear()


def _rewrite(source: LeRobotSource, problems: Collection[str], folder: Path, config: WriterConfig) -> int:
    meta = source.meta
    carrier = Carrier(source, problems, config)
    if carrier.lost:
        reasons = "; ".join(f"{key} ({reason})" for key, reason in carrier.lost.items())
        LOGGER.warning("%s: %d columns are not converted: %s", meta.root, len(carrier.lost), reasons)
    stored = alike(episode_statistics(meta))
    with DatasetWriter(
        folder,
        carrier.features,
        meta.fps,
        robot_type=meta.robot_type,
        config=config,
        recording=source.recording,
        entries=carrier.entries,
    ) as writer:
        writer.calibrate(meta.cameras)
        for episode in range(len(meta.episodes)):
            writer.add_encoded(carrier.encoded(episode, stored[episode]))
    if (meta.root / MODALITY_PATH).is_file():
        shutil.copyfile(meta.root / MODALITY_PATH, folder / MODALITY_PATH)
    return len(meta.episodes)


def alike(episodes: Sequence[Mapping[str, Statistic]]) -> list[dict[str, Statistic]]:
    """The statistics of those streams that all episodes have, by the same names: a table has one set of columns."""
    first = episodes[0]
    keys = [key for key in first if all(stats.get(key, {}).keys() == first[key].keys() for stats in episodes)]
    return [{key: stats[key] for key in keys} for stats in episodes]


def _record(source: EpisodeSource, target: Path, config: WriterConfig | None) -> int:
    def frames(episode: int) -> dict[str, NDArray[Any]]:
        steps = range(source.episode(episode).length)
        return {key: source.read(episode, key, steps).value for key in source.streams}

    features = infer_features(frames(0), {key: stream.names for key, stream in source.streams.items()})
    rate_hz, robot, recording = source.rate_hz, source.embodiment.name, source.recording
    with DatasetWriter(target, features, rate_hz, robot_type=robot, config=config, recording=recording) as writer:
        writer.calibrate(source.embodiment.cameras)
        for episode in range(len(source)):
            writer.add_episode(frames(episode), source.instructions(episode))
    return len(source)
