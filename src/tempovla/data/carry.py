"""Episodes of a v2.1 dataset in the form in which a v3.0 dataset stores them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tempovla.data import video_encode
from tempovla.data.availability import is_list, plain_type
from tempovla.data.column_values import plain_array
from tempovla.data.columns import Columns
from tempovla.data.declared import DEPTH_UNITS
from tempovla.data.episode_store import EncodedEpisode
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import encode_png
from tempovla.data.layout import BOOKKEEPING, EpisodeRecord, Feature
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.parquet import open_parquet, read_columns, several_columns
from tempovla.data.statistics import Statistic, of_images, of_values
from tempovla.data.video import VideoFile
from tempovla.data.writer import WriterConfig, image_column, number_column


class Carrier:
    """Takes episodes out of a dataset.

    Args:
        source: the dataset, which has been checked.
        problems: the streams with findings of the check, which no policy reads.
        config: encoding of videos that cannot be copied.

    Attributes:
        features: the columns that are read and written anew.
        entries: further entries of ``info.json`` for `features`, and whole entries of columns that are copied as they
            are stored.
        lost: why columns are neither, by key.
    """

    def __init__(self, source: LeRobotSource, problems: Collection[str], config: WriterConfig) -> None:
        self._source = source
        self._config = config
        self._columns = Columns(source.meta, source.cache)
        self._schemas: dict[Any, pa.Schema] = {}
        for path in {record.data_path: None for record in source.meta.episodes}:
            with open_parquet(path) as file:
                self._schemas[path] = file.schema_arrow
        self.features: dict[str, Feature] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.lost: dict[str, str] = {}
        self._carried: list[str] = []
        declared = {key: entry for key, entry in source.meta.info["features"].items() if key not in BOOKKEEPING}
        for key, entry in declared.items():
            feature = source.meta.features.get(key)
            if feature is not None and (feature.is_camera or not (feature.is_picture or key in problems)):
                self.features[key] = feature
                if len(feature.shape) > 1 and not feature.is_camera:
                    self.entries[key] = {"names": entry.get("names")}  # of the axes
                continue
            reason = self._obstacle(key, entry)
            if reason is not None:
                self.lost[key] = source.meta.left_out.get(key, reason)
                continue
            self._carried.append(key)
            self.entries[key] = with_unit(entry, feature)
        undeclared = {name for schema in self._schemas.values() for name in schema.names} - set(declared)
        self.lost |= dict.fromkeys(sorted(undeclared - set(BOOKKEEPING)), "meta/info.json does not declare it")

    def encoded(self, episode: int, known: Mapping[str, Statistic]) -> EncodedEpisode:
        """Return one episode; statistics of its cameras are taken from `known` where they are."""
        record = self._source.meta.episodes[episode]
        steps = range(record.length)
        columns: dict[str, pa.Array] = {}
        videos: dict[str, bytes] = {}
        stats: dict[str, Statistic] = {}
        for key, feature in self.features.items():
            if feature.is_camera:
                stats[key] = known[key] if key in known else of_images(self._source.read(episode, key, steps).value)
            if feature.dtype == "video":
                videos[key] = self._video(episode, key)
            elif feature.is_camera:
                columns[key] = self._pictures(record, key)
            else:
                values = self._source.read(episode, key, steps).value
                columns[key], stats[key] = number_column(values), of_values(values)
        columns |= {key: self._as_stored(record, key) for key in self._carried}
        return EncodedEpisode(columns, videos, stats, self._source.instructions(episode))

    def _obstacle(self, key: str, entry: Any) -> str | None:
        """Why a column cannot be carried along as it is stored; None where it can."""
        if not isinstance(entry, Mapping) or not isinstance(entry.get("dtype"), str) or entry["dtype"] == "video":
            return "its entry in meta/info.json is not that of a column"
        if not isinstance(entry.get("shape"), list):
            return f"meta/info.json gives it the shape {entry.get('shape')!r}"
        for path, schema in self._schemas.items():
            if schema.names.count(key) > 1:
                return several_columns(path, key, schema)
        types = {schema.field(key).type if key in schema.names else None for schema in self._schemas.values()}
        if len(types) != 1 or None in types:
            return "not every file has it, with values of one type"
        kind = plain_type(types.pop())
        if self._is_depth(key) and not is_list(kind):
            return self._missing_picture(key)
        if entry["dtype"] in ("image", "depth") and pa.types.is_string(kind):
            return "it refers to files beside it"
        if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0 and not self._holds_bytes(key):
            return "it refers to files beside it"
        return None

    def _is_depth(self, key: str) -> bool:
        feature = self._source.meta.features.get(key)
        return feature is not None and feature.depth is not None

    def _missing_picture(self, key: str) -> str | None:
        try:
            for record in self._source.meta.episodes:
                for step in range(record.length):
                    self._columns.stored_picture(record, key, step)
        except DatasetError as error:
            return str(error)
        return None

    def _holds_bytes(self, key: str) -> bool:
        """Whether every row of a column of structs has the bytes of its file."""
        for path, schema in self._schemas.items():
            if plain_type(schema.field(key).type).get_field_index("bytes") < 0:
                return False
            column = plain_array(read_columns(path, [key]).column(key))
            if pc.struct_field(column, "bytes").null_count > column.null_count:
                return False
        return True

    def _as_stored(self, record: EpisodeRecord, key: str) -> pa.Array:
        column = plain_array(read_columns(record.data_path, [key]).column(key))
        if self._is_depth(key) and not is_list(column.type):
            return self._pictures(record, key)
        start, stop = self._columns.rows(record)
        return column.slice(start, stop - start)

    def _pictures(self, record: EpisodeRecord, key: str) -> pa.Array:
        encoded = []
        for step in range(record.length):
            stored = self._columns.stored_picture(record, key, step)
            encoded.append(
                stored if isinstance(stored, bytes) else encode_png(self._columns.picture(record, key, step))
            )
        return image_column(encoded)

    def _video(self, episode: int, key: str) -> bytes:
        record, fps = self._source.meta.episodes[episode], self._source.meta.fps
        path = record.video(key).path
        video = VideoFile(path)
        is_regular = video.is_regular(record.length, fps)
        video.close()
        if is_regular and video_encode.is_joinable(path):
            return path.read_bytes()
        frames = self._source.read(episode, key, range(record.length)).value
        return video_encode.encode(frames, fps, self._config.video)


def with_unit(entry: Any, feature: Feature | None) -> Any:
    """Return an entry of ``info.json`` with the given unit of depth pictures."""
    if not isinstance(entry, Mapping):
        return entry
    info = entry.get("info")
    info = dict(info) if isinstance(info, Mapping) else {}
    unit = None if feature is None or feature.depth is None else feature.depth.unit_m
    if unit is None or {"depth_unit", "video.depth_unit", "depth_scale"} & set(info):
        return dict(entry)
    names = {metres: name for name, metres in DEPTH_UNITS.items()}
    told = {"depth_unit": names[unit]} if unit in names else {"depth_scale": unit}
    return {**entry, "info": {**info, "is_depth_map": True, **told}}
