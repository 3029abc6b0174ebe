"""What lies beside a file belongs to it."""

from __future__ import annotations

import json
import shutil

import pytest

from tempovla.control.exported.sidecar import Sidecar, sidecar_path


@pytest.fixture
def copied(tmp_path, flow_script):
    for path in flow_script.file.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / flow_script.file.name


def test_it_reads_what_was_written(copied, flow_script):
    read = Sidecar.load(copied)
    assert read.origin == str(copied)
    assert {**vars(read), "figures": None, "origin": ""} == {**vars(flow_script.sidecar), "figures": None}
    assert read.bundle().windows == flow_script.sidecar.windows
    assert read.instruction["name"] == "tokenize_instruction"


def test_a_file_that_is_another_or_has_no_sidecar_is_refused(copied):
    whole = copied.read_bytes()
    copied.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"policy.pt: is not the file that policy.pt.json describes; copy both again"):
        Sidecar.load(copied)
    copied.write_bytes(whole)
    path = sidecar_path(copied)
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "format_version": 9}))
    with pytest.raises(ValueError, match="format_version 9 is not 1"):
        Sidecar.load(copied)
    path.write_text(json.dumps({key: value for key, value in said.items() if key != "inputs"}))
    with pytest.raises(ValueError, match=r"policy.pt.json: not readable \(KeyError: 'inputs'\)"):
        Sidecar.load(copied)
    path.unlink()
    with pytest.raises(ValueError, match=r"policy.pt.json: no such file; copy it from where policy.pt was exported"):
        Sidecar.load(copied)
    with pytest.raises(ValueError, match=r"absent.pt: no such file; give one that `tempovla export` wrote"):
        Sidecar.load(copied.with_name("absent.pt"))


@pytest.mark.parametrize("shape", [["batch", 4], ["batch", 4, 99], ["batch", 0, 2]])
def test_outputs_that_are_no_actions_of_the_body_are_refused(copied, shape):
    path = sidecar_path(copied)
    said = json.loads(path.read_text())
    said["outputs"][0]["shape"] = shape
    path.write_text(json.dumps(said))
    with pytest.raises(
        ValueError, match=r"policy.pt.json: outputs are \(.*\), not actions of \d+ numbers, .*; copy it"
    ):
        Sidecar.load(copied)


@pytest.mark.parametrize("name", [[[]], 5, None])
def test_an_input_whose_name_is_no_text_is_refused(copied, name):
    path = sidecar_path(copied)
    said = json.loads(path.read_text())
    said["inputs"][0]["name"] = name
    path.write_text(json.dumps(said))
    with pytest.raises(
        ValueError, match=r"policy.pt.json: not readable \(name of an input or output is .*, not a text"
    ):
        Sidecar.load(copied)
