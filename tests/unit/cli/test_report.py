"""`tempovla report`."""

from __future__ import annotations

import json

RATE = {"success": 0.5, "episodes": 2, "ci95": [0.09, 0.91]}


def test_a_report_is_written(tmp_path, tempovla):
    (tmp_path / "results.json").write_text(json.dumps({"tasks": {"push-v3": RATE}}))
    out = tmp_path / "pages" / "report.html"
    answer = tempovla("report", tmp_path, "--out", out, "--json")
    assert json.loads(answer.out) == {"report": str(out)}
    assert "push-v3" in out.read_text()


def test_a_folder_without_results_is_refused(tmp_path, fails):
    line = fails("report", tmp_path, "--out", tmp_path / "report.html")
    assert line.startswith(f"{tmp_path / 'results.json'} does not exist; pass the folder")


def test_other_evaluations_and_curves_are_added(tmp_path, tempovla, fails):
    for name, success in (("eval", 0.5), ("blind", 0.25), ("wrong", 0.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"tasks": {"push-v3": RATE | {"success": success}}}))
    for name in ("run", "more", "again"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text('{"train_step": 1, "phase": "p", "total": 3.0}\n')
    out = tmp_path / "report.html"
    baselines = ["--blind", tmp_path / "blind", "--wrong-instruction", tmp_path / "wrong" / "results.json"]
    curves = ["--curves", f"{tmp_path / 'run'},{tmp_path / 'more'}", "--curves", tmp_path / "again"]
    answer = tempovla("report", tmp_path / "eval", "--out", out, *baselines, *curves, "--title", "My arm")
    assert answer.code == 0, answer.err
    page = out.read_text()
    for words in ("25 points lower", "50 points lower", "<h1>My arm</h1>", "</i>run<", "</i>more<", "</i>again<"):
        assert words in page
    line = fails("report", tmp_path / "eval", "--out", out, "--blind", tmp_path / "run")
    assert line.startswith(f"{tmp_path / 'run' / 'results.json'} does not exist")
