import json
import os
import pickle
import shutil
from dataclasses import replace

import pytest
import torch

from tempovla.timeline import Bundle, Embodiment, Window
from tempovla.timeline.bundle import bundle_sha256

BODY = Embodiment("sawyer", 4, 4, 80.0, action_names=("x [m]", "y [m]", "z [m]", "gripper"))


def bundle(**changes):
    shared = torch.arange(6.0)
    fields = {
        "policy": "statevla",
        "config": {"embed_dim": 8, "jepa": {"regularize": "state"}},
        "windows": (Window("observation.state", (0,)), Window("action", (0, 1))),
        "embodiment": BODY,
        "transform": {"steps": [{"name": "resize_images", "size": 64}]},
        "weights": {"a": shared, "b": shared.view(2, 3).T, "half": torch.tensor([0.1], dtype=torch.bfloat16)},
        "provenance": {"seed": 3},
    }
    return Bundle(**{**fields, **changes})


@pytest.fixture
def folder(tmp_path):
    bundle().save(tmp_path / "policy")
    return tmp_path / "policy"


def test_round_trip(folder):
    loaded = Bundle.load(folder)
    original = bundle()
    for name in ("policy", "config", "windows", "embodiment", "transform", "provenance"):
        assert getattr(loaded, name) == getattr(original, name)
    assert loaded.weights.keys() == original.weights.keys()
    for name, tensor in original.weights.items():
        assert loaded.weights[name].dtype == tensor.dtype
        assert torch.equal(loaded.weights[name], tensor)


def test_assets_come_back_and_count_in_the_hash(tmp_path):
    plain, digests = bundle(), set()
    for assets in ({}, {"tokenizer_a/tokenizer.json": b"{}"}, {"tokenizer_a/tokenizer.json": b"[]"}):
        replace(plain, assets=assets).save(tmp_path / "policy")
        assert Bundle.load(tmp_path / "policy").assets == assets
        assert (tmp_path / "policy" / "assets").exists() == bool(assets)
        digests.add(bundle_sha256(tmp_path / "policy"))
    assert len(digests) == 3
    shutil.copytree(tmp_path / "policy", tmp_path / "copy")
    path = tmp_path / "copy" / "assets" / "tokenizer_a" / "tokenizer.json"
    path.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: is not the file that was saved; copy the bundle again"):
        Bundle.load(tmp_path / "copy")
    path.unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json: no such file; copy the bundle again"):
        Bundle.load(tmp_path / "copy")


@pytest.mark.parametrize("name", ["tokenizer/tokenizer.py", "tokenizer/weights.bin", "../up.json", "/etc/up.json"])
def test_code_pickles_and_other_places_are_no_assets(folder, name):
    with pytest.raises(ValueError, match=r"a bundle holds files of \.bpe, \.jinja, \.json, .* only"):
        bundle(assets={name: b"{}"}).save(folder.with_name("other"))
    meta = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(meta | {"assets": {name: "0"}}))
    with pytest.raises(ValueError, match="a bundle holds files of"):
        Bundle.load(folder)


def test_saving_again_replaces_the_old_one_and_leaves_nothing_behind(folder):
    (folder / "stray.txt").write_text("old")
    bundle(weights={"a": torch.ones(1)}).save(folder)
    assert list(Bundle.load(folder).weights) == ["a"]
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "transform.json", "weights.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["policy"]


def test_a_failed_save_leaves_the_old_one(folder):
    with pytest.raises(TypeError):
        bundle(config={"unsaveable": object()}).save(folder)
    assert Bundle.load(folder).policy == "statevla"


def test_a_folder_with_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no bundle; give another folder"):
        bundle().save(tmp_path)
    with pytest.raises(ValueError, match="holds something that is no bundle"):
        bundle().save(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_fine(tmp_path):
    bundle().save(tmp_path / "a" / "b")
    (tmp_path / "empty").mkdir()
    bundle().save(tmp_path / "empty")
    assert Bundle.load(tmp_path / "empty").policy == Bundle.load(tmp_path / "a" / "b").policy


@pytest.mark.parametrize("name", ["bundle.json", "transform.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "garbage"])
def test_a_damaged_file_is_named_with_a_remedy(folder, name, damage):
    path = folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "garbage": b"\xff\xfe{"}[damage])
    with pytest.raises(
        ValueError, match=rf"{name}: .*(copy the bundle again|give the folder that training saved)"
    ) as error:
        Bundle.load(folder)
    assert "\n" not in str(error.value)


def edit(folder, **changes):
    path = folder / "bundle.json"
    meta = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format_version 99 is not 1; export it again"),
        ({"format_version": None}, "format_version None is not 1"),
        ({"policy": None, "config": None}, r"keys \['policy', 'config'\] are missing"),
        ({"windows": [{"key": "action"}]}, "window: keys .'offsets'. of Window are missing"),
        ({"windows": [{"key": "action", "offsets": [1, 0]}]}, ".*must increase strictly"),
        ({"embodiment": {"name": "arm"}}, "embodiment: keys .* of Embodiment are missing"),
        (
            {"embodiment": BODY.to_json() | {"action_dim": 3}},
            r"not readable \(embodiment.action_names are 4, but embodiment.action_dim=3",
        ),
    ],
)
def test_contents_that_do_not_fit_are_named(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ValueError, match=rf"bundle\.json: {message}"):
        Bundle.load(folder)


def test_a_list_is_no_bundle(folder):
    (folder / "bundle.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list, not an object"):
        Bundle.load(folder)


def test_not_a_folder_at_all(tmp_path):
    (tmp_path / "file").write_text("")
    for path, said in (
        (tmp_path / "absent", r"bundle\.json: "),
        (tmp_path / "file", "file: a file"),
        (tmp_path, r"bundle\.json: "),
    ):
        with pytest.raises(ValueError, match=rf"{said}.*; give the folder that training saved"):
            Bundle.load(path)


def test_nothing_in_a_bundle_is_executed(folder, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    for name in ("bundle.json", "transform.json", "weights.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Payload()))
        with pytest.raises(ValueError, match=name):
            Bundle.load(folder)
        (folder / name).write_bytes(content)
    assert not (tmp_path / "executed").exists()


def test_its_hash_is_of_what_it_holds_and_not_of_where_it_is(folder, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    Bundle.load(folder).save(again)
    bundle(config={"depth": 3}).save(other)
    assert bundle_sha256(again) == bundle_sha256(folder)
    assert bundle_sha256(other) != bundle_sha256(folder)


@pytest.mark.parametrize("fact", ["instructions", "plugins"])
def test_facts_that_are_no_texts_are_named(tmp_path, fact):
    bundle(provenance={fact: [3]}).save(tmp_path / "policy")
    with pytest.raises(ValueError, match=rf"bundle.json: provenance.{fact}\[0\] is 3, not a text; copy the bundle"):
        Bundle.load(tmp_path / "policy")
