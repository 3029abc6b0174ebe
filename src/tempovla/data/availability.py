"""A check which of a dataset's declared columns its files hold."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tempovla.data.errors import DatasetError
from tempovla.data.layout import BOOKKEEPING, DatasetMeta, EpisodeRecord, Feature
from tempovla.data.parquet import open_parquet, several_columns

LOGGER = logging.getLogger(__name__)


def leave_out_absent(meta: DatasetMeta) -> DatasetMeta:
    """Return the metadata without columns that no file holds, and without columns whose values differ from their
    declaration.

    The first and the last parquet file are read. A camera is left out if none of its videos exists.
    """
    reasons = dict(meta.left_out)
    schemas = _schemas(meta)
    for key, feature in meta.features.items():
        if key in BOOKKEEPING:
            continue
        if feature.dtype == "video":
            reason = _absent_videos(meta.episodes, key)
        else:
            doubled = [several_columns(path, key, s) for path, s in schemas.items() if s.names.count(key) > 1]
            found = [schema.field(key).type for schema in schemas.values() if schema.names.count(key) == 1]
            reason = doubled[0] if doubled else _mistyped(feature, found[0]) if found else None
            if schemas and not found and not doubled:
                path, schema = next(iter(schemas.items()))
                have = ", ".join(schema.names[:12])
                reason = (
                    f"{path} has no column {key!r} (it has {have}); add it, or remove its entry from meta/info.json"
                )
        if reason is not None:
            reasons[key] = reason
    features = {key: feature for key, feature in meta.features.items() if key not in reasons}
    return replace(meta, features=features, left_out=reasons)


def log_left_out(meta: DatasetMeta) -> None:
    """Log in one line which columns are left out, and why."""
    if meta.left_out:
        reasons = "; ".join(f"{key} ({reason})" for key, reason in meta.left_out.items())
        LOGGER.info("%s: %d of its columns are left out: %s", meta.root, len(meta.left_out), reasons)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values as they are stored, without extensions and dictionaries."""
    while isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind.storage_type
    return kind


def leaf_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of what lies in the innermost lists."""
    kind = plain_type(kind)
    while is_list(kind):
        kind = plain_type(kind.value_type)
    return kind


def is_list(kind: pa.DataType) -> bool:
    """Return whether the type is one of Arrow's lists."""
    types = pa.types
    is_view = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or is_view)


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of the type are numbers or booleans."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def is_encoded(kind: pa.DataType) -> bool:
    """Return whether values of the type are the bytes of a file, or its path."""
    types = pa.types
    is_path = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(is_path or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _schemas(meta: DatasetMeta) -> dict[Path, pa.Schema]:
    schemas: dict[Path, pa.Schema] = {}
    for record in (meta.episodes[:1] + meta.episodes[-1:]) if meta.episodes else ():
        if record.data_path in schemas:
            continue
        try:
            with open_parquet(record.data_path) as file:
                schemas[record.data_path] = file.schema_arrow
        except DatasetError:  # whoever reads the file is told so
            return {}
    return schemas


def _absent_videos(records: tuple[EpisodeRecord, ...], key: str) -> str | None:
    paths = {record.videos[key].path: None for record in records if key in record.videos}
    if any(path.is_file() for path in paths):
        return None
    if not paths:
        return "no episode has a video of it; copy the dataset again" if records else None
    return f"all of its videos are missing, such as {next(iter(paths))}; copy the dataset again"


def _mistyped(feature: Feature, stored: pa.DataType) -> str | None:
    leaf = leaf_type(stored)
    if pa.types.is_null(leaf):  # whoever reads it is told which row has no value
        return None
    if not feature.is_picture:
        wrong = f"it is declared as {feature.dtype}, but its column holds {stored}; correct one of them"
        return None if is_number(leaf) else wrong
    if pa.types.is_struct(leaf):
        names = {leaf.field(i).name for i in range(leaf.num_fields)}
        is_fit = bool(names & {"bytes", "path"})
    else:
        is_fit = is_encoded(leaf) or (is_number(leaf) and is_list(plain_type(stored)))
    return None if is_fit else f"it is declared as pictures, but its column holds {stored}; correct one of them"
