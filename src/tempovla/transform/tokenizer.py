"""Tokenizers: what turns sentences into the token ids that a language model reads.

There are two: hashed words, which need no download, no vocabulary and no fit, for language models that are trained
from scratch; and the tokenizer of any transformers model, by name or local folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from tempovla.timeline.assets import asset_folder, is_asset, write_assets
from tempovla.timeline.model_folder import check_tokenizer, one_line_errors

LOGGER = logging.getLogger(__name__)

LARGEST_VOCABULARY = 1 << 24
"""Ids of hashed words: more than languages have words."""


class Tokenizer(Protocol):
    """Turns sentences into ids in [0, vocab_size)."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""

    @property
    def start_ids(self) -> list[int]:
        """Ids that stand before any text; often none."""

    @property
    def end_ids(self) -> list[int]:
        """Ids that end a text."""

    def encode(self, sentence: str) -> list[int]:
        """Return the ids of a sentence, of any length."""

    def encode_piece(self, text: str) -> list[int]:
        """Return the ids of a piece of a longer text, without special tokens at its start or end."""

    def to_json(self) -> dict[str, Any]:
        """Return the config, from which `tokenizer_from_json` builds it again."""


class WordTokenizer:
    """Every word is an id, which follows from its letters alone; case, punctuation and spacing do not matter.

    Of n words, two share an id with a probability of about n^2 / (2 vocab_size).
    """

    def __init__(self, vocab_size: int = 1024) -> None:
        if not (type(vocab_size) is int and 1 <= vocab_size <= LARGEST_VOCABULARY):
            raise ValueError(f"vocab_size={vocab_size!r} must be a whole number from 1 to {LARGEST_VOCABULARY:,}")
        self._vocab_size = vocab_size

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return self._vocab_size

    @property
    def start_ids(self) -> list[int]:
        """None."""
        return []

    @property
    def end_ids(self) -> list[int]:
        """The id of a word that no text has."""
        return self.encode("end_of_turn")

    def encode_piece(self, text: str) -> list[int]:
        """Return one id a word."""
        return self.encode(text)

    def encode(self, sentence: str) -> list[int]:
        """Return one id a word."""
        digests = [hashlib.blake2b(word.encode(), digest_size=8) for word in words_of(sentence)]
        return [int.from_bytes(digest.digest(), "big") % self._vocab_size for digest in digests]

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return {"kind": "words", "vocab_size": self._vocab_size}


def words_of(sentence: str) -> list[str]:
    """Return the words of a sentence as `WordTokenizer` tells them apart, in small letters."""
    return re.findall(r"\w+", sentence.lower())


class TransformersTokenizer:
    """The tokenizer of a transformers model (Qwen2, Llama, Phi-3, ...), without the model.

    Args:
        name_or_path: name on the hub or local folder.
        fingerprint: required value of its own `fingerprint`; None accepts any.
        files: its files by name, as `files` gave them; with them nothing is read from `name_or_path`.

    Raises:
        ValueError: if there is no such tokenizer, or its fingerprint differs.
    """

    def __init__(
        self, name_or_path: str, fingerprint: str | None = None, files: Mapping[str, bytes] | None = None
    ) -> None:
        self.name_or_path = name_or_path
        if files:
            with TemporaryDirectory() as folder:
                write_assets(Path(folder), files)
                self._tokenizer = _load(folder)
            self.files = dict(files)
        else:
            self._tokenizer = _load(name_or_path)
        if fingerprint not in (None, self.fingerprint):
            remedy = "; copy the checkpoint again" if files else "; put that one in its place"
            raise ValueError(f"tokenizer {name_or_path!r} is not the one of the training{remedy}")

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files from which it can be built again, by name.

        None, with a warning, where it comes back as another one from the files that transformers writes.
        """
        with TemporaryDirectory() as folder, _errors_only():
            self._tokenizer.save_pretrained(folder)
            paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
            same = all(map(is_asset, files)) and _fingerprint(_load(folder)) == self.fingerprint
        if not same:
            LOGGER.warning(
                "tokenizer %r differs after it is saved and loaded, so checkpoints do not keep its files and need it "
                "where it is",
                self.name_or_path,
            )
        return files if same else {}

    def assets(self) -> dict[str, bytes]:
        """Its files, by path in a bundle."""
        folder = asset_folder("tokenizer", self.fingerprint)
        return {f"{folder}/{name}": content for name, content in self.files.items()}

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of all that decides about ids; weights that lie beside it do not."""
        return _fingerprint(self._tokenizer)

    @property
    def vocab_size(self) -> int:
        """How many ids there are, added tokens included."""
        return len(self._tokenizer)

    @property
    def start_ids(self) -> list[int]:
        """The token that begins a text, where the tokenizer adds one."""
        start = self._tokenizer.bos_token_id
        return [start] if start is not None and self.encode("")[:1] == [start] else []

    @property
    def end_ids(self) -> list[int]:
        """The token that ends a text.

        Raises:
            ValueError: if there is none.
        """
        end = self._tokenizer.eos_token_id
        if end is None:
            raise ValueError(f"tokenizer {self.name_or_path!r} has no eos_token, which ends an answer; set it")
        return [end]

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens that begin, end, pad and separate texts; an unknown word's is not among them."""
        special, unknown = set(self._tokenizer.all_special_ids), self._tokenizer.unk_token_id
        named = [value for name, value in self._tokenizer.special_tokens_map.items() if name != "unk_token"]
        return frozenset(special if self._tokenizer.unk_token in named else special - {unknown})

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """Ids of tokens that stand for no text, such as those that begin and end a turn."""
        return frozenset([*self._tokenizer.get_added_vocab().values(), *self._tokenizer.all_special_ids])

    @property
    def chat_template(self) -> str | None:
        """Its template of conversations (Jinja), if it has one."""
        return self._tokenizer.chat_template

    def encode(self, sentence: str) -> list[int]:
        """Return the ids of a sentence, with the tokenizer's special tokens."""
        return self._tokenizer(sentence)["input_ids"]

    def encode_piece(self, text: str) -> list[int]:
        """Return the ids of a text. No special token is added to those that the text names."""
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text that ids stand for, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def render(self, messages: list[dict[str, str]], template: str, *, prompt: bool) -> str:
        """Return a conversation as text by a Jinja template. A `prompt` ends with the words that ask for the next
        answer.

        Raises:
            ValueError: if the template refuses the conversation.
        """
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
            )
        except TemplateError as error:
            raise ValueError(
                f"the chat template of tokenizer {self.name_or_path!r} refuses it ({error}); "
                "set transform.template=plain"
            ) from None
        assert isinstance(text, str)
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return {"kind": "transformers", "name_or_path": self.name_or_path, "fingerprint": self.fingerprint}


def _load(name_or_path: str) -> Any:
    """The tokenizer of a name or folder.

    Raises:
        ValueError: if there is none.
    """
    from transformers import AutoTokenizer

    if Path(name_or_path).is_dir():
        check_tokenizer(Path(name_or_path), "name another tokenizer with transform.tokenizer")
    # Of a model that transformers does not know, such as OpenVLA, the tokenizer will do, without a warning.
    with one_line_errors(name_or_path, "tokenizer"), _errors_only():
        return AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)


def _fingerprint(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = json.dumps(sorted(tokenizer.get_vocab().items())) if backend is None else backend.to_str()
    return hashlib.sha256(whole.encode()).hexdigest()


@contextmanager
def _errors_only() -> Iterator[None]:
    """Without transformers' warnings."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def tokenizer_from_json(data: dict[str, Any]) -> Tokenizer:
    """Build a tokenizer from its config.

    Raises:
        ValueError: if its kind is unknown, or it is no longer the one that it was.
    """
    if data["kind"] == "words":
        return WordTokenizer(data["vocab_size"])
    if data["kind"] == "transformers":
        return TransformersTokenizer(data["name_or_path"], data.get("fingerprint"), data.get("files"))
    raise ValueError(f"tokenizer {data['kind']!r} is unknown; choose words or transformers")
