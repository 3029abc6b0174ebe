"""What turns words into ids."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tiny_models import WORDS, save_tokenizer

from tempovla.transform.tokenizer import TransformersTokenizer, WordTokenizer, tokenizer_from_json


def test_words_get_the_same_id_whatever_their_case_and_place():
    tokenizer = WordTokenizer(1024)
    first, second = tokenizer.encode("Open the drawer!"), tokenizer.encode("drawer, the OPEN")
    assert first == second[::-1]
    assert len(set(first)) == 3
    assert all(0 <= token < 1024 for token in first)
    assert all(token < 4 for token in WordTokenizer(4).encode("open the drawer and push the button"))


def test_another_process_gives_the_same_ids():
    script = "from tempovla.transform.tokenizer import WordTokenizer as W; print(W(512).encode('open the drawer'))"
    source = str(Path(__file__).parents[3] / "src")
    environment = {"PYTHONPATH": source, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == WordTokenizer(512).encode("open the drawer") == [247, 46, 259]


def test_a_transformers_tokenizer_is_used_as_it_is(tmp_path):
    save_tokenizer(tmp_path)
    tokenizer = TransformersTokenizer(str(tmp_path))
    assert tokenizer.vocab_size == len(WORDS)
    assert tokenizer.encode("open the drawer") == [WORDS.index(word) for word in ("open", "the", "drawer", "[EOS]")]


def test_a_tokenizer_that_does_not_come_back_is_not_kept_and_that_is_said(tmp_path, monkeypatch, caplog):
    save_tokenizer(tmp_path / "other")
    changed = (tmp_path / "other" / "tokenizer.json").read_text().replace('"open": 3', '"open": 5')
    save_tokenizer(tmp_path / "own")
    tokenizer = TransformersTokenizer(str(tmp_path / "own"))
    kind = type(tokenizer._tokenizer)
    monkeypatch.setattr(kind, "save_pretrained", lambda _, folder: Path(folder, "tokenizer.json").write_text(changed))
    assert tokenizer.assets() == {}
    assert "differs after it is saved and loaded, so checkpoints do not keep its files" in caplog.text


def test_a_folder_without_a_tokenizer_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds no tokenizer .*, or name another .* with transform\.tokenizer$"):
        TransformersTokenizer(str(tmp_path))


def test_the_tokenizer_beside_a_model_of_its_own_code_loads_and_nobody_is_asked_to_run_that(
    tmp_path, monkeypatch, capsys
):
    """As OpenVLA publishes its own."""
    save_tokenizer(tmp_path)
    code = {"AutoConfig": "configuration_mine.MineConfig", "AutoModel": "modeling_mine.Mine"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": code}))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoProcessor": "processing_mine.MineProcessor"}, "processor_class": "MineProcessor"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail(f"asked {words}"))
    assert TransformersTokenizer(str(tmp_path)).encode("open")[0] == WORDS.index("open")
    assert capsys.readouterr().err == ""
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_mine.MineTokenizer", None]}
    settings["tokenizer_class"] = "MineTokenizer"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"does not load \(.*code") as error:
        TransformersTokenizer(str(tmp_path))
    assert "\n" not in str(error.value)


def test_mistakes_are_named_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"does not load .*; give the name or folder") as error:
        TransformersTokenizer(str(tmp_path / "missing"))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="tokenizer 'other' is unknown; choose words or transformers"):
        tokenizer_from_json({"kind": "other"})
    with pytest.raises(ValueError, match=r"=0 must be a whole number from 1 to"):
        WordTokenizer(0)
