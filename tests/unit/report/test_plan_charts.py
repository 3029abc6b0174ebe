"""Charts of what was expected beside what came."""

import re

from tempovla.report.plan_charts import plan_charts, plans_note
from tempovla.report.plan_figures import PlanFigures
from tempovla.report.run import Clip
from tempovla.report.videos import films_section


def lines(html: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """Style and places of every line."""
    found = re.findall(r'<path d="M([^"]*)" class="line ([^"]*)"', html)
    return [(style, [tuple(map(float, pair.split())) for pair in path.split("L")]) for path, style in found]


def figures(count: int = 4, discount: float = 0.5) -> PlanFigures:
    values, rewards = tuple(float(2 + i) for i in range(count)), (1.0,) * count
    return PlanFigures(1, discount, values, rewards, rewards)


def test_the_return_is_dashed_where_most_of_it_is_unknown():
    html = plan_charts(figures(discount=0.7))  # 0.24, 0.34, 0.49 and 0.7 of the weights lie beyond the end
    value_lines = dict(lines(html)[:3])
    assert {style: [place[0] for place in places] for style, places in value_lines.items()} == {
        "policy": [40.0, 130.7, 221.3, 312.0],
        "blind": [40.0, 130.7, 221.3],
        "blind dashed": [221.3, 312.0],
    }
    assert [style for style, _ in lines(html)[3:]] == ["blind", "policy"]
    assert [style for style, _ in lines(plan_charts(figures(discount=0.5)))] == ["blind", "policy"] * 2
    assert "logarithmic" not in html
    assert html.count("<figcaption>") == 2


def test_a_return_of_which_little_is_known_is_dashed_as_a_whole():
    value_lines = lines(plan_charts(figures(discount=0.99)))[:2]
    assert [style for style, _ in value_lines] == ["blind dashed", "policy"]
    assert [len(places) for _, places in value_lines] == [4, 4]


def test_charts_lie_beside_the_clips_that_have_them(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    plain = Clip("a", True, path, "policy", None, seed=1, steps=4)
    told = Clip("a", True, path, "policy", None, seed=1, steps=4, plans=figures())
    assert "value" not in films_section([plain], {})
    html = films_section([told], {})
    assert '<div class="planned"><figure class="film' in html
    assert '<div class="grid">' not in html
    assert html.count('class="curve"') == 2
    assert all(part in html for part in plans_note())
    mixed = films_section([plain, told], {})
    assert (mixed.count('class="planned"'), mixed.count('<div class="grid">')) == (1, 1)
