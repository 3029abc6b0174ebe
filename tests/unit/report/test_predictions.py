"""Predictions are shown as they stand: curves by horizon, ratios in words, and videos."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.report.figures import OFFLINE

from tempovla.report import prediction_videos
from tempovla.report.page import write_report
from tempovla.report.predictions import prediction_lines, predictions_section, read_predictions
from tempovla.report.tables import offline_table
from tempovla.report.video import encode_mp4

HORIZONS = [1, 2, 4, 8, 15]
COPY = {
    "steps": [40] * 5,
    "mse": [0.01, 0.04, 0.1, 0.4, None],
    "mse_ci95": [None] * 5,
    "ratio": [1.25, 0.5, 0.25, 0.125, None],
    "ratio_ci95": [[1.0, 1.5], [0.4, 0.6], [0.2, 0.3], None, None],
}
LINEAR = COPY | {"mse": [0.02, 0.02, 0.05, 0.9, 2.0], "ratio": [1.0] * 5}
STATE = {
    "kind": "state",
    "steps": [40] * 5,
    "mse": [0.0125, 0.02, 0.025, 0.05, 0.08],
    "mse_ci95": [None] * 5,
    "baselines": {"copy": COPY, "linear": LINEAR},
}
REWARD = STATE | {"kind": "reward", "baselines": {"last": COPY | {"ratio": [0.5] * 5}, "mean": LINEAR}}
FOUND = {
    "horizons": HORIZONS,
    "stride": 1,
    "every": 3,
    "starts": 40,
    "episodes": 2,
    "resamples": 1000,
    "streams": {"observation.state": STATE, "next.reward": REWARD},
}
ALONE = {"checkpoint": "run/checkpoint", "split": "all", "episodes": 2, "predictions": FOUND}
"""As of a policy that learned in a simulator, whose actions have nothing to be compared with."""


def section(folder: Path, **changes: Any) -> str:
    (folder / "offline.json").write_text(json.dumps(ALONE | {"predictions": FOUND | changes}))
    return str(predictions_section(read_predictions(folder), folder))


def words(html: str) -> list[str]:
    return [re.sub(r"<[^>]*>", "", note) for note in re.findall(r'<p class="note">(.*?)</p>', html)]


def test_ratios_are_told_at_2_4_8_and_the_last_horizon(tmp_path):
    told = words(section(tmp_path, streams={"observation.state": STATE}))
    assert "From 40 starts of 2 episodes" in told[0]
    assert told[1] == (
        "observation.state, as decoded by the model: the model&#x27;s error, divided by the error of copying the last "
        "observation, is 0.50 (95% interval 0.40 to 0.60) at 2 steps, 0.25 (95% interval 0.20 to 0.30) at 4 steps and "
        "0.12 at 8 steps."
    )
    assert told[2] == (
        "observation.state: at 1 step ahead, the model is no nearer to what came than the copy of the last observation."
    )
    assert "not held out" in told[3]


def test_small_ratios_keep_two_digits(tmp_path):
    small = STATE | {"baselines": {"copy": COPY | {"ratio": [0.5, 0.0736, 0.0098, 0.0002, None]}}}
    told = words(section(tmp_path, streams={"observation.state": small}))[1]
    assert [f" {ratio} (95%" in told for ratio in ("0.074", "0.0098")] == [True, True]
    assert "2e-4 at 8 steps" in told


def test_horizons_of_a_long_stride_are_told_by_the_first_and_the_last(tmp_path):
    short = {key: value[:3] if isinstance(value, list) else value for key, value in STATE.items()}
    short["baselines"] = {"copy": {key: value[:3] for key, value in COPY.items()}}
    told = words(section(tmp_path, horizons=[5, 10, 15], streams={"latent": short | {"kind": "latent"}}))
    assert "is 1.25 (95% interval 1.00 to 1.50) at 5 steps and 0.25 (95% interval 0.20 to 0.30) at 15 steps." in told[1]
    assert any("Errors in a latent space depend on its scale" in note for note in told)


def test_each_stream_has_a_curve_of_the_model_and_of_both_baselines(tmp_path):
    html = section(tmp_path)
    panels = re.findall(r'<figure class="panel">(.*?)</figure>', html)
    assert [re.search("<code>(.*?)</code>", panel)[1] for panel in panels] == ["observation.state", "next.reward"]
    for panel in panels:
        assert 'aria-label="Error of ' in panel
        assert "over 15 control steps ahead, logarithmic" in panel
        assert ">15 control steps ahead</text>" in panel
        drawn = re.findall(r'<path d="([^"]*)" class="line ([^"]*)"', panel)
        assert {style: len(places.split("L")) for places, style in drawn} == {
            "policy": 5,
            "policy persistence": 4,  # the last horizon has no figure
            "blind dashed": 5,
        }
    assert "mean reward" in html
    assert "repeating the last reward, is 0.50" in html


def test_what_was_not_measured_has_no_section(tmp_path):
    assert predictions_section(None, tmp_path) is None
    assert read_predictions(tmp_path) is None
    (tmp_path / "offline.json").write_text(json.dumps(OFFLINE))
    assert read_predictions(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"horizons": []}, "predictions.horizons is"),
        ({"streams": {}}, "predictions.streams is empty; run `tempovla eval offline` again"),
        ({"streams": {"x": STATE | {"kind": "sound"}}}, r"predictions\.streams\.x\.kind is 'sound'; choose from state"),
        ({"streams": {"x": STATE | {"mse": [1.0]}}}, r"streams\.x\.mse is \[1\.0\]; it must be 5 numbers"),
        ({"streams": {"x": STATE | {"baselines": {"best": COPY}}}}, r"baselines are \['best'\]; choose from copy"),
        ({"streams": {"x": STATE | {"baselines": {"copy": COPY | {"ratio_ci95": [3] * 5}}}}}, "ratio_ci95 is"),
    ],
)
def test_a_damaged_file_is_told_by_key(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told) as refused:
        section(tmp_path, **changes)
    assert str(tmp_path / "offline.json") in str(refused.value)


def test_a_page_of_predictions_alone_says_nothing_of_actions(tmp_path):
    section(tmp_path)
    page = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert "<h2>Predictions</h2>" in page
    assert "how well its world model predicts" in page
    assert "Error of the actions" not in page
    (tmp_path / "offline.json").write_text(json.dumps(OFFLINE | {"predictions": FOUND}))
    page = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert page.index("Error of the actions") < page.index("<h2>Predictions</h2>")


def test_videos_are_shown_where_they_lie_within_their_share_of_the_page(tmp_path, monkeypatch):
    folder = tmp_path / "predictions"
    entries = []
    for index, level in enumerate((0, 200)):
        frames = np.full((3, 8, 16, 3), level, np.uint8)
        encode_mp4(frames, folder / f"{index}.mp4", 6.0)
        camera = {"camera": "observation.images.top", "episode": index, "step": 40, "horizon": 15}
        entries.append({"file": f"{index}.mp4", **camera})
    (folder / "index.json").write_text(json.dumps([*entries, entries[0] | {"file": "gone.mp4"}]))
    html = section(tmp_path)
    assert html.count("<video ") == html.count("data:video/mp4;base64,") == 2
    assert "episode 1, from control step 40" in html
    assert "2 of 3 videos are shown" in html
    monkeypatch.setattr(prediction_videos, "BUDGET_BYTES", (folder / "0.mp4").stat().st_size)
    assert section(tmp_path).count("<video ") == 1
    (folder / "index.json").write_text(json.dumps([entries[0] | {"file": "../secret.mp4"}]))
    with pytest.raises(ValueError, match="secret"):
        section(tmp_path)


def test_a_terminal_shows_errors_and_ratios_by_horizon():
    lines = prediction_lines(ALONE)
    assert lines[0] == "predictions of the world model from 40 starts, one every 3 control steps of 2 episodes"
    assert prediction_lines(ALONE | {"predictions": FOUND | {"every": 1}})[0].endswith(
        "from 40 starts, one per control step of 2 episodes"
    )
    table = {line[:36].strip(): line[36:].split() for line in lines[3:]}
    assert table["observation.state"] == ["1", "2", "4", "8", "15"]
    assert table["model / copy of the last observation"] == ["1.25", "0.5", "0.25", "0.125", "-"]
    assert offline_table(ALONE) == lines
    both = offline_table(OFFLINE | {"predictions": FOUND})
    assert both[-len(lines) + 1 :] == lines[1:]
    assert both[0].startswith("1400 steps of 100 chunks")


def test_a_model_that_decodes_no_camera_is_told_to_have_no_videos():
    with_none = ALONE | {"predictions": FOUND | {"videos": 0}}
    assert prediction_lines(with_none)[-1] == "no videos: the world model decodes no camera"
    assert "no videos" not in "".join(prediction_lines(ALONE))
