"""`tempovla init`: what it writes, and that training runs with it as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests import libero_recordings

from tempovla.recipe.starting_config import STARTING_SYSTEMS

STEPS = ("--batch_size", "2", "--training.save_interval_steps", "2", "--training.precision", "float32")
"""Options that make two steps of every training."""


def trained_steps(tempovla, system: str, config: Path, out: Path) -> list[int]:
    """Two steps of training with a config; how many each phase made."""
    phases = ("phase1.train_steps", "phase2.train_steps") if system == "statevla" else ("train_steps",)
    short = [word for phase in phases for word in (f"--training.{phase}", "2")]
    answer = tempovla("train", system, "--config", config, *short, *STEPS, "--out", out, "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    return [figures["train_step"] for figures in (done.values() if system == "statevla" else [done])]


@pytest.mark.parametrize("system", STARTING_SYSTEMS)
def test_what_it_writes_trains_as_it_is(tmp_path, dataset, tempovla, system):
    config = tmp_path / "new" / "my.yaml"
    answer = tempovla("init", dataset, "--system", system, "--out", config)
    assert (answer.code, answer.out) == (0, f"{config}: train with `tempovla train {system} --config {config}`\n")
    assert trained_steps(tempovla, system, config, tmp_path / "run") == [2, 2][: 2 if system == "statevla" else 1]


def test_what_it_prints_is_what_it_writes(tmp_path, dataset, tempovla, fails):
    printed = tempovla("init", dataset).out
    assert tempovla("init", dataset, "--out", tmp_path / "my.yaml").code == 0
    assert (tmp_path / "my.yaml").read_text() == printed
    config = json.loads(tempovla("init", dataset, "--json").out)["config"]
    assert yaml.safe_load(printed) == config
    assert fails("init", dataset, "--out", tmp_path / "my.yaml").startswith(f"--out {tmp_path / 'my.yaml'}: is there")


def test_liberos_files_train_with_it(tmp_path, tempovla):
    libero_recordings.record(tmp_path / "set")
    assert tempovla("init", tmp_path / "set", "--out", tmp_path / "my.yaml").code == 0
    assert trained_steps(tempovla, "vla", tmp_path / "my.yaml", tmp_path / "run") == [2]


@pytest.mark.parametrize("version", ["v21", "v30"])
def test_a_real_recording_trains_with_it(shared_dir, tmp_path, tempovla, version):
    root = shared_dir / "real_lerobot_sample" / f"g1_yellow_bottle_{version}"
    assert tempovla("init", root, "--out", tmp_path / "my.yaml").code == 0
    config = yaml.safe_load((tmp_path / "my.yaml").read_text())
    config["data"]["preload_bytes"] = 0
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    assert trained_steps(tempovla, "vla", tmp_path / "my.yaml", tmp_path / "run") == [2]


def test_it_refuses_what_inspect_refuses(tmp_path, dataset, fails):
    (data,) = (dataset / "data").rglob("*.parquet")
    data.write_bytes(data.read_bytes()[:100])
    assert fails("init", dataset) == fails("data", "inspect", dataset)
    assert fails("init", tmp_path / "nothing") == fails("data", "inspect", tmp_path / "nothing")
    assert fails("init", dataset, "--system", "openvla").startswith('"system": expected vla or statevla or smolvla')
