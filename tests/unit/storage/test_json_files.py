"""Text of whatever origin is read as UTF-8, and what is none is refused in one line."""

import json
import math
import os
import subprocess
import sys

import pytest

from tempovla.storage.json_files import (
    is_lfs_pointer,
    json_number,
    plain_json,
    read_json,
    read_json_lines,
    read_log,
    read_text,
    to_json_text,
    write_json,
)

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"


def write(folder, data):
    path = folder / "some.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("data", "objects"),
    [
        (b"", []),
        ('{"a": 1}', [(1, {"a": 1})]),
        ('\n \n{"a": 1}\n\n{"a": 2}\n\n', [(3, {"a": 1}), (5, {"a": 2})]),
        ('{"a": 1}\r\n{"a": 2}\r\n', [(1, {"a": 1}), (2, {"a": 2})]),
        (b'\xef\xbb\xbf{"a": 1}\n', [(1, {"a": 1})]),
        ('{\n  "a": 1\n}\n{\n  "a": 2\n}\n', [(1, {"a": 1}), (4, {"a": 2})]),
        ('{"a": "x\x85y\u2028z\u2029\\f"}\n', [(1, {"a": "x\x85y\u2028z\u2029\f"})]),
        ('{"a": "把红色方块放进盒子"}\n', [(1, {"a": "把红色方块放进盒子"})]),
    ],
)
def test_objects_and_their_lines(tmp_path, data, objects):
    assert read_json_lines(write(tmp_path, data), remedy="copy it") == objects


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"a": 1}\n{"a": \n', r"line 3 is not readable as JSON \(Expecting value, column 1\); copy it"),
        ('{"a": 1}\n{"a": 1}}\n', r"line 2 is not readable as JSON"),
        ('{"a": 1}\x85{"a": 2}\n', r"line 1 is not readable as JSON"),
        ('{"a": 1}\n[1]\n', r"line 2 holds a list, not an object; copy it"),
        ('\n{"a": NaN}\n', r"line 2 is not readable as JSON \(NaN is no JSON; write a number or null\); copy it"),
        ('{"a": 1}'.encode("utf-16"), r"is UTF-16; save it as UTF-8"),
        (b'{"a": 1}\n{"a": "\xfc"}', r"line 2 is not UTF-8 \(invalid start byte\); save it as UTF-8, or copy it"),
        (POINTER, r"a git-lfs pointer, not the file itself; run `git lfs pull`"),
    ],
)
def test_anything_else_is_refused_with_its_line(tmp_path, data, message):
    path = write(tmp_path, data)
    with pytest.raises(KeyError, match=r"some.jsonl") as error:
        read_json_lines(path, remedy="copy it", error=_KeyedError, allow_nan=False)
    error.match(message)
    assert "\n" not in str(error.value.args[0])


class _KeyedError(ValueError, KeyError):
    """Of the caller's own kind."""


def test_one_object_is_read_or_refused(tmp_path):
    assert read_json(write(tmp_path, b'\xef\xbb\xbf{"a": [NaN]}'), remedy="copy it")["a"][0] != 0
    for data, message in {
        "[1]": "holds a list, not an object; copy it",
        "": r"not readable as JSON \(Expecting value: line 1 column 1",
        '{"a": Infinity}': "Infinity is no JSON",
        POINTER: "git-lfs pointer",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_json(write(tmp_path, data), remedy="copy it", allow_nan=False)
    with pytest.raises(ValueError, match=r"none.json: no such file; copy it"):
        read_json(tmp_path / "none.json", remedy="copy it")
    with pytest.raises(ValueError, match=r"is a folder, not a file; copy it"):
        read_text(tmp_path, remedy="copy it")


def test_a_pointer_is_told_from_a_file(tmp_path):
    assert is_lfs_pointer(write(tmp_path, POINTER))
    assert not is_lfs_pointer(write(tmp_path, "version 2"))
    assert not is_lfs_pointer(tmp_path / "none")


def test_the_locale_does_not_matter(tmp_path):
    path = write(tmp_path, '{"a": "öffne"}\n')
    code = f"""
from pathlib import Path
from tempovla.storage.json_files import read_json
print(ascii(read_json(Path({str(path)!r}), remedy="")["a"]))
"""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run([sys.executable, "-c", code], env={**os.environ, **plain}, capture_output=True, check=True)
    assert result.stdout == b"'\\xf6ffne'\n"


def test_files_are_replaced_as_a_whole(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, [2])
    assert json.loads(path.read_text()) == [2]
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_numbers_that_are_not_finite_are_texts_in_files_and_numbers_again(tmp_path):
    data = {"clip": math.inf, "low": [-math.inf, 1.5], "mean": {"of": (math.nan,)}}
    write_json(tmp_path / "some.json", data)
    read = read_json(tmp_path / "some.json", remedy="", allow_nan=False)
    assert read == {"clip": "Infinity", "low": ["-Infinity", 1.5], "mean": {"of": ["NaN"]}} == plain_json(data)
    assert [json_number(value) for value in (read["clip"], *read["low"])] == [math.inf, -math.inf, 1.5]
    assert math.isnan(json_number("NaN"))
    assert json_number("Infinite") == "Infinite"


def test_finite_numbers_are_written_as_python_writes_them():
    data = {"a": [1, 0.1, -3e-30, True, None], "b": {"c": "π"}}
    assert to_json_text(data) == json.dumps(data)
    assert to_json_text(data, indent=2, ensure_ascii=False) == json.dumps(data, indent=2, ensure_ascii=False)


def test_a_pipe_is_not_opened_and_a_file_beyond_the_limit_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json: is a named pipe, not a file; copy it"):
        read_json(tmp_path / "a.json", remedy="copy it")
    path = tmp_path / "b.json"
    path.touch()
    os.truncate(path, 6 << 30)  # a hole
    with pytest.raises(ValueError, match=r"b\.json: has 6,442,450,944 bytes, where at most 536,870,912 .*; copy it"):
        read_json(path, remedy="copy it")
    os.truncate(path, 5)
    with pytest.raises(ValueError, match=r"b\.json: holds zero bytes, which no text has; copy it"):
        read_json(path, remedy="copy it")


@pytest.mark.parametrize("deep", ["[" * 101 + "]" * 101, '{"a": ' * 101 + "1" + "}" * 101, "[" * 100_000])
def test_what_is_nested_deeper_than_others_can_walk_is_refused(tmp_path, deep):
    path = tmp_path / "deep.json"
    path.write_text(f'{{"a": {deep}}}')
    with pytest.raises(ValueError, match=r"deep\.json: .*nested more than 100 deep.*; copy it$"):
        read_json(path, remedy="copy it")
    with pytest.raises(ValueError, match=r"deep\.json: line 1.*nested more than 100 deep.*; copy it$"):
        read_json_lines(path, remedy="copy it")


def test_brackets_in_texts_and_many_side_by_side_are_not_deep(tmp_path):
    path = tmp_path / "flat.json"
    data = {"texts": ["[" * 500, "]" * 300, "{" * 200], "rows": [[[1], {"a": [2]}]] * 300}
    path.write_text(json.dumps(data))
    assert read_json(path, remedy="copy it") == data
    assert read_json_lines(path, remedy="copy it") == [(1, data)]
    path.write_text(json.dumps({"a": json.loads("[" * 99 + "]" * 99)}))
    assert read_json(path, remedy="copy it")


def test_a_log_loses_its_last_half_line_and_names_a_line_that_is_no_object(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_log(path, remedy="delete it") == [('{"a": 1}', {"a": 1}), ('{"a": 2}', {"a": 2})]
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(ValueError, match=r"log\.jsonl: line 2: holds a list, not an object; delete it"):
        read_log(path, remedy="delete it")
