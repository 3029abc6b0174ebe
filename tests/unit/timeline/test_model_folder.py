"""What a folder with a model lacks is told in one line that names the file, whoever reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tempovla.timeline.fingerprint import model_fingerprint
from tempovla.timeline.model_folder import INDEX, check_config, check_tokenizer, safetensors_of

PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for name, part in zip("ab", PARTS, strict=True):
        save_file({name: torch.ones(3)}, tmp_path / part)
    return index(tmp_path, {"a": PARTS[0], "b": PARTS[1]})


def index(folder: Path, weight_map: object) -> Path:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match=str(folder)) as caught:
        safetensors_of(folder, "vision model")
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(str(folder)).removeprefix("/")


def test_every_weight_is_found_in_its_file(sharded, tmp_path):
    assert safetensors_of(sharded, "vision model") == {"a": PARTS[0], "b": PARTS[1]}
    save_file({"c": torch.ones(1)}, tmp_path / "model.safetensors")
    assert safetensors_of(tmp_path, "vision model") == {"c": "model.safetensors"}


def test_a_part_that_is_missing_cut_short_or_not_what_the_index_says(sharded):
    path = sharded / PARTS[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert refusal(sharded).startswith(f"{PARTS[1]}: not readable (")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert refusal(sharded).endswith("a git-lfs pointer, not the file itself; run `git lfs pull` in its folder")
    path.unlink()
    assert refusal(sharded) == f"{PARTS[1]}: no such file, but {INDEX} names it; copy the model again"
    path.write_bytes(whole)
    index(sharded, {"a": PARTS[0], "b": PARTS[1], "gone": PARTS[0]})
    assert refusal(sharded) == f"{PARTS[0]}: holds no weight 'gone', but {INDEX} says so; copy the model again"


def test_an_index_that_is_none_or_missing(sharded):
    index(sharded, None)
    assert refusal(sharded) == f"{INDEX}: has no weight_map; copy the model again"
    (sharded / INDEX).write_text('{"weight_map": {')
    assert refusal(sharded).startswith(f"{INDEX}: not readable as JSON (")
    (sharded / INDEX).unlink()
    assert refusal(sharded) == f": holds {PARTS[0]}, but no {INDEX}, which says what is where; copy the model again"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_a_pickle_is_not_opened_and_the_command_that_converts_it_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not even a pickle")
    assert refusal(tmp_path) == (
        f": its weights are in {name}, a pickle, which could run code and is not opened; convert them with "
        f"`tempovla convert weights {tmp_path}`"
    )


def test_no_weights_at_all(tmp_path):
    told = "give the folder of a vision model as save_pretrained writes it"
    assert refusal(tmp_path) == f": holds no model.safetensors or {INDEX}; {told}"
    (tmp_path / "weights.pth").write_bytes(b"")
    assert refusal(tmp_path).endswith(f"only weights.pth, a pickle, which could run code and is not opened; {told}")


def test_the_command_that_converts_can_be_copied_as_it_is(tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=f"`tempovla convert weights '{folder}'`$"):
        safetensors_of(folder, "vision model")


def test_a_damaged_tokenizer(tmp_path):
    path = tmp_path / "tokenizer.json"
    for content, said in (
        ("{", r"tokenizer\.json: not readable as JSON \(.*\); copy the tokenizer again"),
        ("[]", r"tokenizer\.json: holds a list, not an object; copy the tokenizer again"),
        ('{"model": {}}', r"tokenizer\.json: has no 'added_tokens', so it is no tokenizer; copy the tokenizer again"),
        ("version https://git-lfs.github.com/spec/v1", "run `git lfs pull`"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=said):
            check_tokenizer(tmp_path, "pray")
    path.write_text('{"model": {}, "added_tokens": []}')
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: holds a list, not an object"):
        check_tokenizer(tmp_path, "pray")


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(
        ValueError, match=r"holds no tokenizer \(no tokenizer.json, .*\); copy its files there, or pray"
    ):
        check_tokenizer(tmp_path, "pray")
    (tmp_path / "spiece.model").write_bytes(b"")
    check_tokenizer(tmp_path, "pray")


@pytest.mark.parametrize(
    ("length", "is_one"),
    [(512, True), (10**30, True), (1e30, True), (None, True), (0, False), (512.0, False), ("x", False), ([3], False)],
)
def test_a_length_of_texts_that_is_no_number_of_tokens_is_refused(tmp_path, length, is_one):
    (tmp_path / "tokenizer.json").write_text('{"model": {}, "added_tokens": []}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}))
    if is_one:
        check_tokenizer(tmp_path, "pray")
    else:
        with pytest.raises(ValueError, match=r"model_max_length is .*, no number of tokens; copy"):
            check_tokenizer(tmp_path, "pray")


@pytest.mark.parametrize(
    ("model", "added", "told"),
    [
        ({"vocab": {"a": 0, "b": 10**9}}, [], "token 'b' has the number 1000000000, and none is outside 0 to"),
        ({"vocab": {}}, 0.5, "added_tokens is 0.5, no list; copy"),
        ({"vocab": {"a": -1}}, [], "token 'a' has the number -1, and"),
        ({"vocab": {"a": 0}}, [{"content": "<s>", "id": 1e9}], "token '<s>' has the number 1000000000.0, and"),
    ],
)
def test_numbers_that_no_token_has_are_refused_before_a_table_of_them_is_made(tmp_path, model, added, told):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": added}))
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'tokenizer.json'}: {told}")):
        check_tokenizer(tmp_path, "pray")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_hidden_layers": 1e30}, "num_hidden_layers is 1e+30, where models have from 0 to 1,000"),
        ({"vision_config": {"hidden_size": 1 << 40}}, "vision_config.hidden_size is 1099511627776, where models have"),
        ({"depth": float("nan")}, "depth is nan, where models have from 0 to 1,000"),
        ({"num_attention_heads": -2}, "num_attention_heads is -2, where models have from 0 to"),
        ({"text_config": {"attention_dropout": 7}}, "text_config.attention_dropout is 7, no probability from 0 to 1"),
        (
            {"rope_parameters": {"rope_theta": -1e4}},
            "rope_parameters.rope_theta is -10000.0, where models have a positive",
        ),
        ({"output_hidden_states": "x"}, "output_hidden_states is 'x', where models have true or false"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0, where models have a positive number"),
        ({"towers": [{"depth": 2}, {"depth": 10**9}]}, "towers.1.depth is 1000000000, where models have"),
    ],
)
def test_sizes_beyond_any_model_are_refused_before_one_is_built(tmp_path, settings, told):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'config.json'}: {told}")):
        check_config(tmp_path, "vision model")


def test_sizes_of_real_models_pass(tmp_path):
    sizes = {"num_hidden_layers": 126, "hidden_size": 16_384, "max_position_embeddings": 10_485_760}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    check_config(tmp_path, "vision model")


def test_a_text_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "preprocessor_config.json").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: has 3,221,225,472 bytes, where at most"):
        check_config(tmp_path, "vision model")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: has 3,221,225,472 bytes, where at most"):
        model_fingerprint(str(tmp_path))
