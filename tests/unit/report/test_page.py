"""The page says what the files say, no more and no less, and needs nothing else."""

import json
import re
from html.parser import HTMLParser

import pytest

from tempovla.report.page import write_report

VOID = {"meta", "br", "hr", "img", "source"}


class Page(HTMLParser):
    """The text and the attributes of a page; fails on elements that are not closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open_elements, self.words, self.attributes, self.tags = [], [], [], []
        self.feed(text)
        assert self.open_elements == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open_elements.append(tag)

    def handle_endtag(self, tag):
        assert self.open_elements.pop() == tag

    def handle_data(self, data):
        if self.open_elements and self.open_elements[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " | ".join(self.words)


def table_rows(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


@pytest.fixture(scope="session")
def html(complete_run, tmp_path_factory) -> str:
    return write_report(complete_run, tmp_path_factory.mktemp("out") / "report.html").read_text(encoding="utf-8")


def test_table_holds_the_rates_intervals_and_counts_of_results_json(html):
    _, button, *_, push, mean = table_rows(html)

    assert button[:4] == ["button-press-topdown-v3", "<b>100%</b>", "78\u2013100%", "20/20"]
    assert button[4] == "55%<small>33\u201366% \u00b7 n = 20</small>"
    assert push[:4] == ["push-v3", "<b>65%</b>", "43\u201376%", "13/20"]
    assert mean == ["Mean<small>without push-v3</small>", "<b>92.5%</b>", "85\u201396%", "74/80", "61.3%", "8.8%"]


def test_headline_gives_the_mean_with_interval_count_and_baselines(html):
    header = Page(html[html.index("<header>") : html.index("</header>") + len("</header>")]).text

    for words in ("92.5%", "95% interval 85\u201396%", "74 of 80 episodes", "61.3%", "31 points lower", "8 min 22 s"):
        assert words in header


def test_chart_places_marks_and_intervals_at_their_rates(html):
    push = html[html.index('aria-label="policy 65%') :]

    assert 'x1="42.64%" x2="76.18%"' in push
    assert 'x="65%"' in push


def test_a_task_where_blindness_does_as_well_is_named(html):
    assert "On door-open-v3 the blind policy reaches the policy&#x27;s interval" in html


def test_page_loads_nothing_from_elsewhere(html):
    page = Page(html)

    links = [value for _, name, value in page.attributes if name in ("src", "href", "poster", "data", "srcset")]
    assert len(links) == 15
    assert all(link.startswith("data:video/mp4;base64,") for link in links)
    assert "link" not in page.tags
    assert not re.search(r"https?://|url\(|@import", re.sub(r"data:video/mp4;base64,[^\"]*", "", html))


def test_page_is_small(html):
    assert len(html.encode()) < 8_000_000


def test_failures_and_instructions_are_on_the_clips(html):
    failures = re.findall(r'<figure class="film policy failure">.*?</figure>', html)

    assert len(failures) == 2
    assert "\u201copen the drawer\u201d" in failures[0]
    assert "seed 1004 \u00b7 61 steps" in failures[0]
    assert ">Failed<" in failures[0]


def test_videos_are_muted_and_start_by_script_so_that_reduced_motion_is_kept(html):
    attributes = {name for tag, name, _ in Page(html).attributes if tag == "video"}

    assert {"muted", "loop", "playsinline"} <= attributes
    assert "autoplay" not in attributes
    assert "prefers-reduced-motion" in html


def test_stages_command_machine_and_versions_are_listed(html):
    text = Page(html).text

    command = "tempovla demo --out outputs/demo --seed 7"
    for words in ("collect demonstrations", "121.4", "66.2", command, "AMD EPYC 9B14", "2.13.0"):
        assert words in text
    assert "588.1 CPU seconds in all, 5.8 of them outside the stages" in text


def test_results_alone_make_a_page_that_names_what_is_missing(bare_run):
    text = Page(write_report(bare_run, bare_run / "report.html").read_text(encoding="utf-8")).text

    assert "No learning curves" in text
    assert "No rollout videos" in text
    assert "92.5%" in text


def test_smallest_results_make_a_page_without_an_invented_interval(tmp_path):
    (tmp_path / "results.json").write_text('{"tasks": {"reach-v3": {"success": 0.5, "episodes": 4}}}')

    text = Page(write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")).text

    for words in ("50%", "2/4", "no interval given", "results.json gives no interval for reach-v3."):
        assert words in text
    assert "No stages were recorded" in text
    assert "The command was not recorded" in text


def test_a_baseline_that_no_task_has_is_not_shown(tmp_path):
    rate = {"success": 0.5, "episodes": 4, "ci95": [0.15, 0.85]}
    results = {"tasks": {"reach-v3": rate | {"blind": 0.25}, "push-v3": rate}}
    (tmp_path / "results.json").write_text(json.dumps(results))

    html = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")

    assert table_rows(html)[0] == ["Task", "Success", "95% interval", "Episodes", "Blind"]
    assert table_rows(html)[1][4:] == ["25%"]
    assert table_rows(html)[2][4:] == ["\N{EN DASH}"]
    text = Page(html).text
    assert "Blind policy" in text
    assert "not evaluated on every task" in text
    assert "rong instruction" not in text


def test_long_names_are_shown_as_labels_and_kept_as_titles(tmp_path):
    names = [f"pick_up_the_{thing}_and_place_it_in_the_basket" for thing in ("milk", "alphabet_soup")]
    tasks = {name: {"success": 0.5, "episodes": 4, "blind": 0.5, "ci95": [0.1, 0.9]} for name in names}
    (tmp_path / "results.json").write_text(json.dumps({"tasks": tasks}))
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "0.mp4").write_bytes(b"film")
    entry = {"task": names[1], "success": True, "file": "0.mp4"}
    (tmp_path / "rollouts" / "index.json").write_text(json.dumps([entry]))

    html = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")

    assert [row[0] for row in table_rows(html)[1:3]] == ["milk", "alphabet soup"]
    assert f'<b title="{names[0]}">milk</b>' in html
    assert f'<span title="{names[1]}">alphabet soup</span>' in html
    assert "On milk and alphabet soup the blind policy reaches" in html
    assert names[0] not in Page(html).text


def test_names_that_are_their_own_labels_have_no_title(html):
    assert "<b>push-v3</b>" in html
    assert 'title="push-v3"' not in html


def test_a_given_title_is_the_heading(bare_run):
    html = write_report(bare_run, bare_run / "report.html", title="My arm").read_text(encoding="utf-8")

    assert "<title>My arm</title>" in html
    assert "<h1>My arm</h1>" in html


def test_text_from_files_is_escaped(bare_run):
    nasty = "<script>alert('1')</script>"
    data = json.loads((bare_run / "results.json").read_text())
    task = data["tasks"].pop("push-v3")
    data["tasks"][nasty] = task | {"instruction": nasty}
    data |= {"command": nasty, "title": nasty, "versions": {nasty: nasty}}
    data["stages"][0]["name"] = nasty
    (bare_run / "results.json").write_text(json.dumps(data))

    html = write_report(bare_run, bare_run / "report.html").read_text(encoding="utf-8")

    assert nasty not in html
    assert Page(html).tags.count("script") == 1


def test_broken_input_leaves_the_old_report_alone(bare_run):
    out = bare_run / "report.html"
    out.write_text("the old report")
    (bare_run / "results.json").write_text("{")

    with pytest.raises(ValueError, match=r"results\.json: not readable as JSON"):
        write_report(bare_run, out)

    assert out.read_text() == "the old report"
    assert sorted(path.name for path in bare_run.iterdir()) == ["report.html", "results.json"]
