"""Which clips a page of limited size shows."""

from tempovla.report.run import Clip
from tempovla.report.videos import choose, films_section


def clips(folder, *rows) -> list[Clip]:
    made = []
    for i, (task, success, size) in enumerate(rows):
        path = folder / f"{i}.mp4"
        path.write_bytes(b"x" * size)
        made.append(Clip(task, success, path, "policy", None, seed=i, steps=None))
    return made


def test_everything_is_shown_where_it_fits(tmp_path):
    rows = clips(tmp_path, ("a", True, 10), ("a", True, 10), ("b", False, 10))

    assert choose(rows, 30) == rows


def test_every_task_and_ending_comes_before_a_second_of_the_same(tmp_path):
    rows = clips(tmp_path, ("a", True, 10), ("a", True, 10), ("a", False, 10), ("b", True, 10), ("b", True, 10))

    assert [clip.seed for clip in choose(rows, 30)] == [0, 2, 3]


def test_clips_left_out_or_lost_are_counted(tmp_path, monkeypatch):
    rows = clips(tmp_path, ("a", True, 10), ("a", True, 10), ("a", False, 10))
    rows[2].path.unlink()
    monkeypatch.setattr("tempovla.report.videos.VIDEO_BUDGET_BYTES", 10)

    html = films_section(rows, {})

    assert "1 of 2 clips are shown" in html
    assert "1 of 3 indexed clips are not on disk, such as 2.mp4" in html
    assert html.count("<video") == 1


def test_a_clip_without_instruction_says_so(tmp_path):
    assert "no instruction recorded" in films_section(clips(tmp_path, ("a", True, 10)), {})
