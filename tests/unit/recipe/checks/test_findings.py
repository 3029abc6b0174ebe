"""Findings as lines and as plain values."""

from __future__ import annotations

from tempovla.recipe.checks.findings import Findings


def test_a_required_finding_fails_and_advice_warns():
    findings = Findings()
    assert findings.require("a", None, "holds")
    findings.advise("b", "is odd", "is fine")
    findings.skip(["c", "d"], "not asked for")
    assert findings.passed
    assert not findings.require("e", "does\nnot  hold", "holds")
    findings.advise("f", None, "is fine")
    assert not findings.passed
    assert findings.lines == [
        "[PASS] a: holds",
        "[WARN] b: is odd",
        "[SKIP] c: not asked for",
        "[SKIP] d: not asked for",
        "[FAIL] e: does not hold",
        "[PASS] f: is fine",
        "6 checks: 2 passed, 1 failed, 1 with a warning, 2 skipped",
    ]


def test_plain_values_tell_what_is_required():
    findings = Findings(figures={"one": {"steps": 3}})
    findings.require("a", "broken", "")
    findings.advise("b", None, "fine")
    assert findings.to_json() == {
        "passed": False,
        "summary": {"pass": 1, "fail": 1, "warn": 0, "skip": 0},
        "checks": [
            {"id": "a", "severity": "required", "status": "fail", "message": "broken"},
            {"id": "b", "severity": "advice", "status": "pass", "message": "fine"},
        ],
        "datasets": {"one": {"steps": 3}},
    }
