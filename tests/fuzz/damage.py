"""Damage to files: to their bytes, their size, their place in the folder, and to what they say of themselves."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tests.fuzz.json_damage import damage_json, damage_value, damage_yaml, write_nested

Damage = Callable[[Path, Random], str]
"""Changes a file, and tells what it did."""


def flip_bit(path: Path, random: Random) -> str:
    data = bytearray(path.read_bytes())
    if not data:
        return "nothing"
    place = random.randrange(len(data))
    data[place] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return f"bit at {place}"


def change_bytes(path: Path, random: Random) -> str:
    data = bytearray(path.read_bytes())
    if not data:
        return "nothing"
    at_an_end = random.random() < 0.5  # where headers and footers are
    places = [
        random.choice((random.randrange(min(64, len(data))), len(data) - 1 - random.randrange(min(64, len(data)))))
        if at_an_end
        else random.randrange(len(data))
        for _ in range(random.choice((1, 4, 16)))
    ]
    for place in places:
        data[place] = random.choice((0, 255, random.randrange(256)))
    path.write_bytes(data)
    return f"{len(places)} bytes"


def cut(path: Path, random: Random) -> str:
    size = path.stat().st_size
    kept = random.choice((0, 1, size // 2, max(0, size - 1), random.randrange(size + 1)))
    os.truncate(path, kept)
    return f"cut from {size} to {kept}"


def extend(path: Path, random: Random) -> str:
    more = random.choice((b"\0", b"\0" * 4096, path.read_bytes(), os.urandom(9)))
    with path.open("ab") as file:
        file.write(more)
    return f"{len(more)} bytes more"


def grow(path: Path, random: Random) -> str:
    os.truncate(path, 1_500_000_000)  # a hole, which takes no room
    return "1.5 GB of zeros"


def remove(path: Path, random: Random) -> str:
    path.unlink()
    return "gone"


def to_pipe(path: Path, random: Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a named pipe"


def to_folder(path: Path, random: Random) -> str:
    path.unlink()
    path.mkdir()
    return "a folder"


def to_loop(path: Path, random: Random) -> str:
    path.unlink()
    path.symlink_to(path.name)
    return "a link to itself"


def to_device(path: Path, random: Random) -> str:
    path.unlink()
    path.symlink_to("/dev/zero")
    return "a link to /dev/zero"


def lock_out(path: Path, random: Random) -> str:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    return "a pointer of git-lfs"


def damage_parquet(path: Path, random: Random) -> str:
    """Change the columns of a parquet file."""
    table = pq.read_table(path)
    column = random.randrange(table.num_columns)
    name = table.column_names[column]
    rows = table.num_rows
    kinds: dict[str, Callable[[], pa.Table]] = {
        "drop": lambda: table.drop_columns([name]),
        "rename": lambda: table.rename_columns([f"{n}x" if n == name else n for n in table.column_names]),
        "text": lambda: table.set_column(column, name, pa.array(["x"] * rows)),
        "floats": lambda: table.set_column(column, name, pa.array([random.choice((1.5, float("nan")))] * rows)),
        "nulls": lambda: table.set_column(column, name, pa.array([None] * rows, table.schema.field(column).type)),
        "null type": lambda: table.set_column(column, name, pa.nulls(rows)),
        "lists": lambda: table.set_column(column, name, pa.array([[1.0] * (row % 3) for row in range(rows)])),
        "wide": lambda: table.set_column(column, name, pa.array([[1.0] * 5] * rows)),
        "huge": lambda: table.set_column(column, name, pa.array([2**62] * rows)),
        "negative": lambda: table.set_column(column, name, pa.array([-1] * rows)),
        "structs": lambda: table.set_column(column, name, pa.array([{"a": 1}] * rows)),
        "binary": lambda: table.set_column(column, name, pa.array([b"\xff"] * rows)),
        "long text": lambda: table.set_column(column, name, pa.array(["z" * 1_000_000] * rows)),
        "no rows": lambda: table.slice(0, 0),
        "fewer rows": lambda: table.slice(0, max(0, rows - 1)),
        "rows twice": lambda: pa.concat_tables([table, table]),
        "shuffled": lambda: table.take(pa.array(random.sample(range(rows), rows))),
    }
    kind = random.choice([*kinds, "many rows"])
    if kind == "many rows":
        write_many_rows(path, table)
    else:
        pq.write_table(kinds[kind](), path)
    return f"{kind} of {name}"


def write_many_rows(path: Path, table: pa.Table, rows: int = 3_000_000) -> None:
    """A small file of many rows that are equal."""
    one = table.slice(0, 1)
    flat = [name for name in one.column_names if not pa.types.is_nested(one.schema.field(name).type)]
    block = one.select(flat).take(pa.array(np.zeros(rows, np.int64)))
    pq.write_table(block, path, compression="zstd")


def damage_hdf5(path: Path, random: Random) -> str:
    """Change a dataset or an attribute of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name))
        name = random.choice(names)
        item = file[name]
        kind = random.choice(["delete", "retype", "huge", "filled", "scalar", "text", "attribute", "link", "nan"])
        if kind == "attribute" or isinstance(item, h5py.Group):
            data = file["data"]
            attribute = random.choice(list(data.attrs))
            value = random.choice(
                [b"\xff\xfe", "x", "{", "[1]", "[" * 5_000, '{"language_instruction": 3}', np.zeros((3, 3)), 7]
            )
            data.attrs[attribute] = value
            return f"attribute {attribute} is {str(value)[:20]!r}"
        dtype, shape = item.dtype, item.shape
        del file[name]
        if kind in ("huge", "filled"):
            wide = (1_000_000_000, *shape[1:])
            chunks = (1, *shape[1:])
            file.create_dataset(name, wide, dtype, chunks=chunks, fillvalue=1 if kind == "filled" else None)
        elif kind == "retype":
            file[name] = np.zeros(shape, random.choice(["S3", "i8", "c16", "u1", "f2"]))
        elif kind == "scalar":
            file[name] = random.choice([0, h5py.Empty("f4"), np.zeros(3), np.zeros((0, *shape[1:]))])
        elif kind == "text":
            file[name] = "text"
        elif kind == "link":
            file[name] = random.choice([h5py.ExternalLink("/etc/passwd", "x"), h5py.SoftLink(f"/{name}")])
        elif kind == "nan" and dtype.kind == "f":
            file[name] = np.full(shape, np.nan, dtype)
        return f"{kind} of {name}"


def damage_safetensors(path: Path, random: Random) -> str:
    """Change the header of a safetensors file."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = [json.loads(data[8 : 8 + size])]
    kind = random.choice(["value", "value", "value", "huge header", "drop", "rename"])
    if kind == "huge header":
        path.write_bytes(struct.pack("<Q", random.choice((100_000_000, 2**40, 2**63))) + data[8:])
        return kind
    names = [name for name in header[0] if name != "__metadata__"]
    name = random.choice(names)
    told = kind
    if kind == "value":
        told = damage_value(header[0], random)
    elif kind == "drop":
        del header[0][name]
    else:
        header[0][f"{name}.x"] = header[0].pop(name)
    text = write_nested(json.dumps(header[0])).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    return f"header: {told} of {name}"


def damage_png(path: Path, random: Random) -> str:
    """Replace a picture by an odd one."""
    kind = random.choice(["13000 x 13000", "1 x 1", "16 bits", "gif"])
    buffer = io.BytesIO()
    if kind == "13000 x 13000":
        buffer.write(huge_png(13_000))
    elif kind == "1 x 1":
        Image.new("RGB", (1, 1)).save(buffer, "png")
    elif kind == "16 bits":
        Image.fromarray(np.zeros((16, 16), np.uint16)).save(buffer, "png")
    else:
        Image.new("P", (16, 16)).save(buffer, "gif")
    path.write_bytes(buffer.getvalue())
    return kind


def huge_png(side: int) -> bytes:
    """A black picture of so many pixels a side, a few hundred kB."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "png")
    return buffer.getvalue()


PLAIN: tuple[Damage, ...] = (flip_bit, change_bytes, change_bytes, cut, extend, remove)
PLACES: tuple[Damage, ...] = (to_pipe, to_folder, to_loop, to_device, lock_out, grow)
INNER: dict[str, Damage] = {
    ".json": damage_json,
    ".jsonl": damage_json,
    ".yaml": damage_yaml,
    ".parquet": damage_parquet,
    ".hdf5": damage_hdf5,
    ".safetensors": damage_safetensors,
    ".png": damage_png,
}


def damage(path: Path, random: Random) -> str:
    """Damage a file in one way; tell in which."""
    choice = random.random()
    inner = INNER.get(path.suffix)
    if inner is not None and choice < 0.65:
        change = inner
    elif choice < 0.88:
        change = random.choice(PLAIN)
    else:
        change = random.choice(PLACES[:-1] if path.suffix == ".mp4" else PLACES)  # a long video may be a long video
    return f"{change.__name__}: {change(path, random)}"
