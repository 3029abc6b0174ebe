"""A run knows which data it has learned from, and other data are trained on only where that was asked for."""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.toy import LinearPolicy, ToyStream

from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig
from tempovla.training.data_history import fingerprint
from tempovla.training.fit import fit
from tempovla.training.result import FitResult

CONFIG = TrainConfig(train_steps=4, save_interval=0, save_interval_steps=2, keep_every=2, num_threads=1)
ACCEPTING = replace(CONFIG, accept_changed_data=True)
DATA = {
    "name": "/here/pens",
    "facts": {"episodes": 3, "streams": {"action": ["action", [2], "float32"]}},
    "files": {"data/a.parquet": "12-ab", "data/b.parquet": "9-cd", "meta/info.json": "5-ef"},
}


class KnowingStream(ToyStream):
    """Tells what its samples are said to come from."""

    def __init__(self, *datasets: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.datasets = list(datasets)

    def data_identity(self) -> list[dict[str, Any]]:
        return self.datasets

    def take_up_changed(self, state) -> None:
        self.taken = 100


def run(run_dir: Path, stream: ToyStream, config: TrainConfig = CONFIG, resume: Path | None = None) -> FitResult:
    policy = LinearPolicy()
    return fit(policy, stream, config, run_dir, bundle=policy.bundle, resume=resume)


def other(files: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    changed = deepcopy(DATA) | {"name": "/there/pens"} | changes
    changed["files"] = {name: digest for name, digest in (DATA["files"] | (files or {})).items() if digest}
    return changed


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    run(tmp_path / "run", KnowingStream(DATA))
    return tmp_path / "run/checkpoints/step_00000002"


def test_the_same_data_in_another_place_are_the_same(tmp_path, checkpoint):
    result = run(tmp_path / "again", KnowingStream(other()), resume=checkpoint)
    record = Checkpoint.load(result.checkpoint).record
    assert record["data"] == [other()]
    assert record["data_history"] == [{"train_step": 0, "fingerprint": fingerprint([DATA])}]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"files": {"data/b.parquet": "9-ce"}}, "/there/pens: data/b.parquet has changed; restore"),
        ({"files": {"data/c.parquet": "1-aa"}}, "/there/pens: data/c.parquet is new; restore"),
        ({"files": {"data/b.parquet": ""}}, "/there/pens: data/b.parquet is gone; restore"),
        (
            {"files": dict.fromkeys([*DATA["files"], "data/c.parquet"], "7-aa")},
            "data/a.parquet has changed, data/b.parquet has changed, and 2 more; restore",
        ),
        (
            {"facts": {**DATA["facts"], "episodes": 4, "chosen episodes": "ab" * 32}},
            "episodes changed from 3 to 4, chosen episodes changed; restore",
        ),
    ],
)
def test_other_data_are_refused_by_name_in_one_line(tmp_path, checkpoint, change, told):
    with pytest.raises(ValueError, match="the data are not those that the run has learned from") as caught:
        run(tmp_path / "again", KnowingStream(other(**change)), resume=checkpoint)
    text = str(caught.value)
    assert text.startswith(f"{checkpoint}: ")
    assert told in text
    assert text.endswith("by training.accept_changed_data=true")
    assert "\n" not in text


def test_of_several_datasets_the_changed_one_is_named_and_their_number_counts(tmp_path):
    second = other(name="/here/cups")
    run(tmp_path / "run", KnowingStream(DATA, second))
    checkpoint = tmp_path / "run/checkpoints/step_00000002"
    changed = other({"data/a.parquet": "1-00"}, name="/here/cups")
    with pytest.raises(ValueError, match=r"from; /here/cups: data/a.parquet has changed; restore"):
        run(tmp_path / "again", KnowingStream(DATA, changed), resume=checkpoint)
    with pytest.raises(ValueError, match="2 datasets were trained on, and there are 1 now"):
        run(tmp_path / "again", KnowingStream(DATA), resume=checkpoint)


def test_accepted_data_are_trained_on_and_remembered(tmp_path, checkpoint, caplog):
    more = other({"data/c.parquet": "1-aa"})
    with caplog.at_level(logging.WARNING):
        result = run(tmp_path / "again", KnowingStream(more, samples=40), ACCEPTING, checkpoint)
    assert "going on from step 2 with other data; /there/pens: data/c.parquet is new" in caplog.text
    record = Checkpoint.load(result.checkpoint).record
    assert record["data_history"] == [
        {"train_step": 0, "fingerprint": fingerprint([DATA])},
        {"train_step": 2, "fingerprint": fingerprint([more])},
    ]
    assert record["batches"] == {"taken": 102}
    longer = replace(CONFIG, train_steps=6, extend="continue")  # they are the run's data from now on
    assert run(tmp_path / "again", KnowingStream(more, samples=40), longer, result.checkpoint).train_step == 6


def test_accepting_changes_nothing_where_nothing_has_changed(tmp_path, checkpoint):
    one = run(tmp_path / "one", KnowingStream(DATA), CONFIG, checkpoint)
    two = run(tmp_path / "two", KnowingStream(DATA), ACCEPTING, checkpoint)
    assert one.metrics == two.metrics
    assert Checkpoint.load(two.checkpoint).record["data_history"] == [
        {"train_step": 0, "fingerprint": fingerprint([DATA])}
    ]


def test_settings_that_differ_are_told_before_the_streams_that_follow_from_them(tmp_path, checkpoint):
    facts = {**DATA["facts"], "streams": {"action": ["action", [3], "float32"]}}
    with pytest.raises(ValueError, match=r"training.weight_decay was 0.05, and is 0.1 now"):
        run(tmp_path / "again", KnowingStream(other(facts=facts)), replace(CONFIG, weight_decay=0.1), checkpoint)
    with pytest.raises(ValueError, match=r"/there/pens: streams changed from .*\[2\].* to .*\[3\]"):
        run(tmp_path / "again", KnowingStream(other(facts=facts)), CONFIG, checkpoint)


@pytest.mark.parametrize("data", ["x", [1], [{"name": "pens"}], None])
def test_a_damaged_record_of_the_data_is_refused_in_one_line(tmp_path, checkpoint, data):
    path = checkpoint / "trainer.json"
    record = json.loads(path.read_text()) | {"data": data}
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="resume from another checkpoint") as caught:
        run(tmp_path / "again", KnowingStream(DATA), resume=checkpoint)
    assert str(checkpoint) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_knows_nothing_of_its_data_is_gone_on_from(tmp_path):
    run(tmp_path / "run", ToyStream())
    checkpoint = tmp_path / "run/checkpoints/step_00000002"
    result = run(tmp_path / "again", KnowingStream(DATA), resume=checkpoint)
    assert Checkpoint.load(result.checkpoint).record["data_history"] == [
        {"train_step": 2, "fingerprint": fingerprint([DATA])}
    ]
