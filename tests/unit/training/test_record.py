"""Values in `trainer.json` that no run writes are refused in one line with the file and the field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.toy import LinearPolicy, ToyStream

from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit

CONFIG = TrainConfig(train_steps=4, save_interval=0, save_interval_steps=3, log_interval=2, keep_every=3, num_threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint after three of four steps."""
    run, policy = tmp_path_factory.mktemp("run"), LinearPolicy()
    fit(policy, ToyStream(), CONFIG, run, bundle=policy.bundle)
    return run / "checkpoints/step_00000003"


@pytest.fixture
def damage(folder):
    """Puts a value into `trainer.json`, and what was there back in the end."""
    path = folder / "trainer.json"
    text = path.read_text()

    def put(key: str, value: Any) -> None:
        record = json.loads(text)
        *parents, last = key.split(".")
        place = record
        for parent in parents:
            place = place[parent]
        place[last] = value
        path.write_text(json.dumps(record))

    yield put
    path.write_text(text)


DATA = {"name": "pens", "facts": {}, "files": {}}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("train_step", -5, "train_step is -5; it must be from 0 to the 4 that the run was planned for"),
        ("train_step", 500, "train_step is 500; it must be from 0 to the 4"),
        ("train_step", 10**30, "train_step is 10{30}; it must be less than 2"),
        ("train_step", True, "train_step is True; it must be a whole number"),
        ("train_step", 3.0, r"train_step is 3\.0; it must be a whole number"),
        ("lowest_loss", "x", "lowest_loss is 'x'; it must be a number"),
        ("lowest_loss", 10**400, "lowest_loss is 10{20}.*; it must be less than 2"),
        ("lowest_loss", "NaN", "lowest_loss is nan; it must be a finite number"),
        ("schedule_start", "x", "schedule_start is 'x'; it must be a whole number"),
        ("schedule_start", -5, "schedule_start is -5; it must be from 0 to the 3 steps"),
        ("schedule_start", 10**20, "schedule_start is 10{20}; it must be less than 2"),
        ("stale_validations", "x", "stale_validations is 'x'; it must be a whole number"),
        ("interval", {"x": "y"}, "interval.x is 'y'; it must be a finite number"),
        ("interval", {"sums": 1}, "interval.steps is None; it must be greater than 0"),
        ("metrics", {"a": [1]}, r"metrics.a is \[1\]; it must be a finite number"),
        ("cpu_seconds", None, "cpu_seconds is None; it must be a number"),
        ("learning_rates", [], r"learning_rates is \[\]; it must be a list of at least one"),
        ("learning_rates", [{"train_step": 0, "learning_rate": 0}], "learning_rates is 0; it must be greater than 0"),
        ("data", [{"name": "pens"}], r"data\[0\]: keys \['facts', 'files'\] of KnownDataset are missing"),
        ("data", [DATA], r"data_history is \[\]; it must be a list"),
        ("identity", {}, "identity.training is None; it must be an object"),
        ("identity.training", 3, "identity.training is 3; it must be an object"),
        ("identity.training.train_steps", "x", "identity.training.train_steps is 'x'; it must be a whole number"),
        ("identity.batches_per_epoch", 0, "identity.batches_per_epoch is 0; it must be a whole number of at least 1"),
    ],
)
def test_a_value_that_no_run_writes_is_refused(folder, damage, key, value, told):
    damage(key, value)
    with pytest.raises(ValueError, match=rf"step_00000003/trainer.json: {told}") as caught:
        Checkpoint.read_record(folder)
    assert str(caught.value).endswith("; resume from another checkpoint of the run")


def test_data_without_a_history_are_refused(folder, damage):
    damage("data", [DATA])
    record = json.loads((folder / "trainer.json").read_text()) | {"data_history": []}
    (folder / "trainer.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"trainer.json: data_history is \[\]; it must be a list of which"):
        Checkpoint.read_record(folder)


def test_a_place_in_the_order_of_the_data_is_told_with_the_file(folder, damage, tmp_path):
    class Picky(ToyStream):
        def load_state_dict(self, state):
            raise ValueError("sampler: drawn is [-1]; it must be a count")

    policy = LinearPolicy()
    with pytest.raises(ValueError, match=r"step_00000003/trainer.json: sampler: drawn is \[-1\]"):
        fit(policy, Picky(), replace(CONFIG), tmp_path, bundle=policy.bundle, resume=folder)
