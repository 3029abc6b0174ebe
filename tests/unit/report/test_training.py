"""A training run without an evaluation in a simulator has a page of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.report.figures import OFFLINE, found

from tempovla.report.page import is_training_alone, write_report
from tempovla.report.training import read_trained

PROVENANCE = {
    "dataset": "data/arm",
    "episodes": 20,
    "instructions": ["open", "close"],
    "tempovla": "0.1.0",
    "torch": "2.13",
}


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run: two logged steps and a validation."""
    folder = tmp_path / "arm"
    folder.mkdir()
    lines = [{"total": 3.0}, {"total": 1.25}, {"val_total": 1.5}]
    text = [json.dumps({"train_step": 10 * i, "phase": "vla"} | line) + "\n" for i, line in enumerate(lines, start=1)]
    (folder / "metrics.jsonl").write_text("".join(text))
    return folder


def report(run: Path, **options) -> str:
    return write_report(run, run / "report.html", **options).read_text()


def test_curves_alone_make_a_page_that_says_how_to_get_the_rest(run):
    page = report(run)
    for words in (
        "<h1>Training of arm</h1>",
        "Loss, held-out",
        "1.5",
        "1.25",
        "step 20, lowest 1.25",
        "Learning curves",
    ):
        assert words in page
    assert "no offline evaluation" in page
    assert "tempovla eval offline --checkpoint CHECKPOINT --json" in page
    assert "Does it use its past?" not in page
    assert "results.json" not in page
    assert "<h1>My arm</h1>" in report(run, title="My arm")


def test_offline_errors_and_the_diagnosis_are_shown_where_they_are(run):
    (run / "offline.json").write_text(json.dumps(OFFLINE))
    (run / "diagnosis.json").write_text(json.dumps(found()))
    page = report(run)
    for words in (
        "0.84",
        "of the squared error of always giving the mean action",
        "Does it use its past?",
        "The policy uses its past.",
    ):
        assert words in page


def test_the_newest_checkpoint_tells_what_was_trained_on_what(run):
    assert read_trained(run).facts == {"folder": "arm"}
    folder = run / "phase2" / "checkpoint_latest"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text(json.dumps({"policy": "statevla", "provenance": PROVENANCE}))
    trained = read_trained(run)
    assert trained.facts == {
        "folder": "arm",
        "policy": "statevla",
        "dataset": "data/arm",
        "episodes": "20",
        "instructions": "2",
    }
    assert trained.versions == {"tempovla": "0.1.0", "torch": "2.13"}
    assert "data/arm" in report(run)


def test_an_evaluation_in_a_simulator_keeps_its_page_and_gains_what_lies_beside_it(run):
    assert is_training_alone(run)
    rate = {"success": 0.5, "episodes": 2, "ci95": [0.09, 0.91]}
    (run / "results.json").write_text(json.dumps({"tasks": {"push-v3": rate}}))
    assert not is_training_alone(run)
    assert "Error of the actions" not in report(run)
    (run / "offline.json").write_text(json.dumps(OFFLINE))
    page = report(run)
    assert "push-v3" in page
    assert "Error of the actions" in page


def test_damage_and_baselines_of_nothing_are_refused(run):
    with pytest.raises(ValueError, match=r"results.json does not exist"):
        report(run, baselines={"blind": run})
    (run / "diagnosis.json").write_text('{"verdict": []}')
    with pytest.raises(
        ValueError, match=r"diagnosis.json: not readable \(KeyError: .*`tempovla diagnose memory` again"
    ):
        report(run)
