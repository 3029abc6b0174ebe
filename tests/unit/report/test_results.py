"""What the page says beside the success rates."""

from __future__ import annotations

import json
from pathlib import Path

from tempovla.report.results import cautions
from tempovla.report.run import read_results
from tempovla.report.tables import success_table

BLOCK = {"success": 0.5, "episodes": 10, "ci95": [0.2, 0.8]}


def evaluation(**at_once: int | None) -> dict:
    """Results of ten episodes of each task; None is a file that says nothing of episodes that were solved at once."""
    tasks = {name: BLOCK if count is None else BLOCK | {"solved_at_once": count} for name, count in at_once.items()}
    known = [count for count in at_once.values() if count is not None]
    mean = BLOCK | {"episodes": 10 * len(tasks)} | ({"solved_at_once": sum(known)} if known else {})
    return {"tasks": tasks, "mean": mean}


def notes(folder: Path, results: dict) -> list[str]:
    """The cautions of the page."""
    (folder / "results.json").write_text(json.dumps(results))
    return cautions(read_results(folder))


def test_page_and_command_say_how_many_episodes_were_solved_at_once(tmp_path):
    told = "3 of 20 episodes were solved by the first step, whatever the policy did: 1 of push and 2 of door"
    found = evaluation(push=1, door=2)
    assert notes(tmp_path, found) == [f"{told}."]
    assert success_table(found)[-1] == f"note: {told}"


def test_nothing_is_said_where_there_are_none_or_an_older_file_does_not_tell(tmp_path):
    for count in (0, None):
        found = evaluation(push=count, door=count)
        assert notes(tmp_path, found) == []
        assert [line.split()[0] for line in success_table(found)] == ["push", "door", "mean"]
