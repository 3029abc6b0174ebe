"""What an evaluation writes is held while it is at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempovla.recipe.evaluation.outputs import Outputs


def held(outputs: Outputs) -> None:
    with outputs.held():
        pass


@pytest.mark.parametrize("name", ["results", "videos"])
def test_a_second_evaluation_into_one_place_is_told_who_is_there(tmp_path: Path, name: str) -> None:
    outputs = Outputs(**{name: tmp_path / "new" / name})
    with outputs.held():
        held(Outputs(results=tmp_path / "new" / "other.json", videos=tmp_path / "new" / "others"))
        with pytest.raises(ValueError, match=rf"new/{name}: this process .* \(for 0 min.* let it end, or give another"):
            held(outputs)
    held(outputs)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_would_destroy_each_other_or_the_policy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot hold both recordings and videos; give two folders"):
        Outputs(recordings=tmp_path / "all", videos=tmp_path / "all").check()
    (tmp_path / "policy.onnx").write_text("")
    with pytest.raises(ValueError, match=r"would overwrite what is read, .*policy.onnx; give another file"):
        Outputs(results=tmp_path / "policy.onnx").check(tmp_path / "policy.onnx")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint, a dataset with a file of rows, and a link to the folder that holds them."""
    monkeypatch.chdir(tmp_path)
    for name in ("ckpt/bundle.json", "data/meta/info.json", "data/data/chunk-000/file-000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "here").symlink_to(".")


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"results": "data/data/chunk-000/file-000.parquet"}, "^results .*parquet: lies in the dataset data, in which"),
        ({"results": "ckpt/results.json"}, "^results ckpt/results.json: lies in the checkpoint ckpt, in which nothing"),
        (
            {"results": "results"},
            "^results results: does not end in .json; give a file that does, such as results.json",
        ),
        ({"results": "x.json", "recordings": "x.json"}, "^results x.json: is the place of recordings x.json; give"),
        ({"results": "here/v", "videos": "v"}, "^results here/v: is the place of videos v; give another file$"),
        ({"results": "r/a.json", "recordings": "here/r"}, "^results r/a.json: lies in recordings here/r, in which"),
        ({"results": "v/index.json", "videos": "v"}, "^results v/index.json: is a file that videos v writes as well"),
        ({"recordings": "here/q", "videos": "q"}, "^q: cannot hold both recordings and videos; give two folders$"),
        ({"recordings": "r", "videos": "r/films"}, "^videos r/films: lies in recordings r, in which nothing else"),
        ({"recordings": "data"}, "^data: not empty, and nothing is overwritten; give another folder$"),
        ({"recordings": "data/new"}, "^recordings data/new: lies in the dataset data, "),
        (
            {"recordings": "ckpt"},
            "^recordings ckpt: is a checkpoint, in which nothing else is kept; give another place",
        ),
        ({"videos": "data"}, "^videos data: is a dataset, in which nothing else is kept; give another place$"),
        ({"videos": "ckpt/films"}, "^videos ckpt/films: lies in the checkpoint ckpt, "),
    ],
)
def test_what_would_land_in_a_dataset_a_checkpoint_or_another_output_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outputs(**given).check("ckpt")


@pytest.mark.usefixtures("places")
def test_recordings_that_an_interrupted_evaluation_left_may_go_on(tmp_path: Path) -> None:
    (tmp_path / "r.partial.jsonl").write_text("")
    Outputs(results="r.json", recordings="data", videos="films").check("ckpt")


def test_a_tilde_in_outputs_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Outputs(results="~/a.json").results == tmp_path / "a.json"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cameras": ["corner2"]}, r"^cameras=\['corner2'\] are for recordings; name a folder of recordings, or leave"),
        (
            {"cameras": "corner2", "recordings": "r"},
            r"^cameras='corner2': give a list of names, such as \['corner2'\]$",
        ),
        ({"cameras": 2, "recordings": "r"}, r"^cameras=2: give a list of names, such as \['corner2'\]$"),
        ({"cameras": [2], "recordings": "r"}, r"^cameras=\[2\]: give a list of names, such as \['corner2'\]$"),
    ],
)
def test_cameras_that_nothing_records_and_what_is_no_list_of_names_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outputs(**given)
