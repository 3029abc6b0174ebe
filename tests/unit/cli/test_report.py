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
