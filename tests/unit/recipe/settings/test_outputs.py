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
    "check temporal": ["--config-yaml", "a.json"],
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


OFFLINE = ["eval", "offline", "--checkpoint", "ckpt", "--json"]
SAMPLE = ["data", "sample", "data", "--episode", 0, "--frame", 0, "--window", "action=0", "--out"]
DIAGNOSE = ["diagnose", "memory", "--checkpoint", "ckpt", "--dataset", "data", "--out"]
EXPORT = ["export", "--checkpoint", "ckpt", "--out"]
TRAIN = ["train", "vla", "--out"]


@pytest.fixture
def crowded(tmp_path, monkeypatch):
    """A checkpoint, a dataset, a run with a report, and links."""
    monkeypatch.chdir(tmp_path)
    names = ("ckpt/bundle.json", "data/meta/info.json", "data/data/chunk-000/file-000.parquet", "run/metrics.jsonl")
    for name in (*names, "run/results.json", "run/report.html", "run/page.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "link.json").symlink_to("q.npz")
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")


@pytest.mark.usefixtures("crowded", "idle")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*OFFLINE, "data/data/chunk-000/file-000.parquet"],
            "--json data/data/chunk-000/file-000.parquet: lies in the",
        ),
        ([*OFFLINE, "data/meta/new.json"], "--json data/meta/new.json: lies in the dataset data, in which nothing"),
        ([*OFFLINE, "ckpt/new.json"], "--json ckpt/new.json: lies in the checkpoint ckpt, in which nothing else"),
        ([*OFFLINE, "run/metrics.jsonl"], "--json run/metrics.jsonl: does not end in .json; give a file that does"),
        ([*OFFLINE, f"{'x' * 300}.json"], f"{'x' * 40}...: a name of 305 bytes, but 220 are the most; give a shorter"),
        (
            ["report", "run", "--out", "run/metrics.jsonl"],
            "--out run/metrics.jsonl: does not end in .html or .htm; give",
        ),
        (["report", "run", "--out", "run"], "--out run: is a folder; give a file in it, such as run/results.html"),
        (
            ["report", "run", "--out", "r.html", "--json", "run/results.json"],
            "--json run/results.json: would overwrite",
        ),
        ([*TRAIN, "t", "--json", "t/metrics.jsonl"], "--json t/metrics.jsonl: does not end in .json"),
        (
            [*TRAIN, "t", "--json", "t/checkpoint_latest/bundle.json"],
            "--json t/checkpoint_latest/bundle.json: lies in a",
        ),
        ([*TRAIN, "data/data"], "--out data/data: lies in the dataset data, in which nothing else is kept; give"),
        ([*TRAIN, "data/meta"], "--out data/meta: lies in the dataset data"),
        ([*TRAIN, "ckpt/sub"], "--out ckpt/sub: lies in the checkpoint ckpt"),
        ([*TRAIN, "data"], "--out data: is a dataset, in which nothing else is kept; give another place"),
        ([*EXPORT, "n.pt", "--json", "n.pt.json"], "--json n.pt.json: is a file that --out n.pt writes as well; give"),
        (
            [*EXPORT, "n", "--json", "n/policy.pt.json"],
            "--json n/policy.pt.json: is a file that --out n writes as well",
        ),
        ([*EXPORT, "ckpt"], "--out ckpt: is a checkpoint, in which nothing else is kept; give another place"),
        ([*EXPORT, "ckpt/n.onnx"], "--out ckpt/n.onnx: lies in the checkpoint ckpt"),
        (
            [*EXPORT, "loop.onnx"],
            "loop.onnx: cannot be written (Too many levels of symbolic links), so --out loop.onnx",
        ),
        ([*SAMPLE, "q.npz", "--json", "link.json"], "--out q.npz: is the place of --json link.json; give another file"),
        ([*DIAGNOSE, "dd", "--json", "dd/diagnosis.html"], "--json dd/diagnosis.html: does not end in .json"),
        ([*DIAGNOSE, "data"], "--out data: is a dataset, in which nothing else is kept; give another place"),
        (
            ["collect", "metaworld", "--episodes", 1, "--out", "d", "--json", "d/x.json"],
            "--json d/x.json: lies in --out d",
        ),
        (["data", "convert", "data", "new", "--json", "new/x.json"], "--json new/x.json: lies in DST new, in which"),
        (["demo", "--out", "o", "--json", "o/stages.json"], "--json o/stages.json: is a file that --out o writes as"),
        (
            ["eval", "metaworld", "--checkpoint", "ckpt", "--record", "e", "--videos", "./e"],
            "--videos e: lies in --record e, in which nothing else is kept; give another place",
        ),
    ],
)
def test_outputs_that_would_destroy_data_a_checkpoint_or_each_other_are_refused(fails, arguments, message):
    assert fails(*arguments).startswith(message)


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "run", "--out", "run/report.html", "--json", "run/page.json"],
        ["eval", "offline", "--checkpoint", "ckpt", "--json", "run/results.json"],
        ["train", "vla", "--out", "run", "--json", "run/train.json"],
        ["collect", "metaworld", "--episodes", 1, "--out", "data"],
        ["convert", "openvla", "--pretrained", "p", "--camera", "observation.images.a", "--out", "ckpt"],
        ["eval", "metaworld", "--checkpoint", "ckpt", "--json", "e/r.json", "--videos", "e/films", "--record", "data"],
        ["export", "--checkpoint", "ckpt", "--out", "run", "--json", "run.json"],
    ],
)
def test_outputs_that_belong_where_they_are_asked_for_are_accepted(tempovla, monkeypatch, arguments):
    module, _ = commands()[" ".join(arguments[:1] if arguments[0] in commands() else arguments[:2])]
    monkeypatch.setattr(importlib.import_module(module), "run", lambda *_: Outcome("done", {}))
    answer = tempovla(*arguments)
    assert (answer.code, answer.out.strip()) == (0, "done"), answer.err


def test_a_tilde_in_an_output_is_the_home_folder(tempovla, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    report = importlib.import_module("tempovla.cli.report")
    monkeypatch.setattr(report, "run", lambda _, args: Outcome(args.out, {}))
    answer = tempovla("report", tmp_path, "--out", "~/r.html", "--json=~/new/r.json")
    assert (answer.code, answer.out.strip()) == (0, str(tmp_path / "r.html")), answer.err
    assert json.loads((tmp_path / "new" / "r.json").read_text()) == {}
