"""Commands refuse outputs that cannot be written before they begin to work, all in the same way."""

from __future__ import annotations

import importlib
import json

import pytest

from tempovla.cli.command import Outcome
from tempovla.cli.main import commands


@pytest.fixture
def idle(monkeypatch):
    """No command does any work."""

    def refuse(*_):
        raise AssertionError("the work began")

    for module in {module for module, _ in commands().values()}:
        monkeypatch.setattr(importlib.import_module(module), "run", refuse)


ARGUMENTS = {
    "demo": [],
    "init": ["a.json"],
    "data inspect": ["a.json"],
    "data sample": ["a.json", "--episode", 0, "--frame", 0, "--window", "action=0", "--out", "new.npz"],
    "data stats": ["a.json"],
    "data convert": ["a.json", "new"],
    "convert weights": ["a.json"],
    "convert openvla": ["--pretrained", "a.json", "--camera", "observation.images.a", "--out", "new"],
    "diagnose memory": ["--checkpoint", "a.json", "--dataset", "new"],
    "eval compare": ["a.json", "b.json"],
    "eval offline": ["--checkpoint", "a.json"],
    "export": ["--checkpoint", "a.json", "--out", "new.onnx"],
    "ask": ["--checkpoint", "new", "--questions", "a.json"],
    "report": ["a.json", "--out", "new.html"],
    **{name: ["--checkpoint", "a.json"] for name in commands() if name.startswith("train ")},
    **{
        name: ["--checkpoint", "a.json"]
        for name in commands()
        if name.startswith("eval ") and name.split()[1] not in ("compare", "offline")
    },
    **{name: ["--episodes", 1, "--out", "new"] for name in commands() if name.startswith("collect ")},
}


@pytest.mark.parametrize("name", commands())
def test_every_command_checks_its_json_file_before_it_works(name, fails, idle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    arguments = [*name.split(), *ARGUMENTS[name]]
    assert fails(*arguments, "--json", "folder").startswith("--json folder: is a folder; give a file in it")
    assert fails(*arguments, "--json", "a.json/x.json").startswith("a.json: a file, so x.json cannot be written")
    if name != "demo" and not name.startswith("collect "):
        assert fails(*arguments, "--json", "a.json").startswith("--json a.json: would overwrite what is read, a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "folder"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vla", "--out", "run", "--json", "run"], "--json run: is the place of --out run; give another file"),
        (["train", "vla", "--out", "all/run", "--json", "all"], "--json all: is the place of --out all/run; give"),
        (["report", "run", "--out", "x.html", "--json", "x.html"], "--out x.html: is the place of --json x.html"),
        (["report", "run", "--out", "a.json/x.html"], "a.json: a file, so x.html cannot be written into a.json"),
        (["report", "a.json", "--out", "a.json"], "--out a.json: would overwrite what is read, a.json; give another"),
        (
            ["diagnose", "memory", "--checkpoint", "c", "--dataset", "d", "--out", "a.json"],
            "--out a.json: is a file, but a folder is",
        ),
        (["train", "vla", "--out", "a.json"], "--out a.json: is a file, but a folder is written; give another name"),
        (["train", "vla", "--json", ""], "--json is empty; name what to write, or leave it out"),
        (["train", "vla", "--out="], "--out is empty; name what to write, or leave it out"),
        (["eval", "metaworld", "--checkpoint", "c", "--record", ""], "--record is empty; name what to write"),
        (["train", "vla", "--config", "a.json", "--json", "a.json"], "--json a.json: would overwrite what is read"),
    ],
)
def test_outputs_that_exclude_each_other_are_refused(fails, idle, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    assert fails(*arguments).startswith(message)


def test_what_can_be_written_is_written(tempovla, tmp_path, monkeypatch):
    report = importlib.import_module("tempovla.cli.report")
    monkeypatch.setattr(report, "run", lambda *_: Outcome("", {"report": "r.html"}))
    answer = tempovla("report", tmp_path, "--out", tmp_path / "r.html", "--json", tmp_path / "new" / "r.json")
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "new" / "r.json").read_text()) == {"report": "r.html"}
