"""Which lines go into which panel."""

from tempovla.report.curves import curves_section, panel_names, panel_series
from tempovla.report.run import Curve

POINTS = [(1, 1.0), (2, 0.5)]


def curve(run: str, split: str = "train", **figures) -> Curve:
    return Curve(run, "phase1", split, figures)


def test_persistence_is_drawn_beside_the_prediction_error():
    curves = [curve("train", jepa_mse=POINTS, jepa_persistence=[(1, 2.0), (2, 2.0)])]

    series = panel_series(curves, "jepa_mse")

    assert [line.label for line in series] == ["train", "nothing changes, train"]
    assert series[1].points == [(1, 2.0), (2, 2.0)]
    assert panel_names(curves) == ["jepa_mse"]


def test_persistence_alone_gets_its_own_panel():
    assert panel_names([curve("train", jepa_persistence=POINTS)]) == ["jepa_persistence"]


def test_the_policy_comes_before_its_validation_and_the_blind_one():
    curves = [curve("blind", total=POINTS), curve("train", "validation", total=POINTS), curve("train", total=POINTS)]

    series = panel_series(curves, "total")

    assert [(line.label, line.style) for line in series] == [
        ("train", "policy"),
        ("train, validation", "policy dashed"),
        ("blind", "blind"),
    ]


def test_total_comes_first_and_diagnostics_are_folded():
    html = curves_section([curve("train", flow=POINTS, total=POINTS, lr=POINTS)])

    assert html.index("<code>total") < html.index("<code>flow") < html.index("<details>")
    assert html.index("<details>") < html.index("<code>lr")


def test_figures_of_a_policys_parts_are_folded_in_groups_but_for_predictions_beside_persistence():
    names = ("total", "debug/sagr/mse_dyn_k4", "debug/sagr/persistence_k4", "debug/sagr/loss_dyn", "debug/temporal/k")
    html = curves_section([curve("train", **dict.fromkeys(names, POINTS))])
    folded = html.index("<details>")
    assert html.index("<code>total") < html.index("<code>debug/sagr/mse_dyn_k4") < folded
    assert "nothing changes, train" in html
    assert "<code>debug/sagr/persistence" not in html
    first, second = html.index("<summary>debug/sagr/*"), html.index("<summary>debug/temporal/*")
    assert folded < first < html.index("<code>debug/sagr/loss_dyn") < second < html.index("<code>debug/temporal/k")
    assert html.count("<details>") == 2
