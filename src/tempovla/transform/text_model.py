"""Sentence embeddings of pretrained text models, kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tempovla.storage.cache import cache_folder
from tempovla.storage.json_files import parse_json
from tempovla.storage.whole import new_file
from tempovla.timeline.arguments import brief
from tempovla.timeline.assets import asset_folder
from tempovla.timeline.fingerprint import model_fingerprint
from tempovla.timeline.hub import from_disk_alone, hub_may_be_asked
from tempovla.timeline.model_folder import check_config, check_tokenizer, one_line_errors, safetensors_of

LOGGER = logging.getLogger(__name__)
SENTENCES, EMBEDDINGS = "sentences.json", "embeddings.safetensors"


class TransformersTextEmbedder:
    """Embeddings of a transformers text model (CLIP, BERT, T5, GPT-2, ...), by name or local folder, frozen.

    CLIP gives its projected text embedding, every other model the mean of its last hidden states over valid tokens
    (not the pooled output, which only some checkpoints were trained to make useful).

    What was embedded once is read from disk from then on, by the model's fingerprint and the sentence: the model itself
    is loaded for new sentences alone. The folder is `TEMPOVLA_CACHE`, by default `~/.cache/tempovla`; a warning says
    where it cannot be written.

    Args:
        name_or_path: the model.
        fingerprint: required value of `model_fingerprint`; None accepts any.
        files: sentences that are embedded already, as `assets` gave them; with them the model is looked for when
            another sentence is embedded, and not before.

    Raises:
        ValueError: if there is no such model or tokenizer, it is another one than the fingerprint says, or the
            checkpoint lacks weights of its text model.
    """

    def __init__(
        self, name_or_path: str, fingerprint: str | None = None, files: Mapping[str, bytes] | None = None
    ) -> None:
        self.name_or_path = name_or_path
        self._disk_alone = not hub_may_be_asked()  # also when the model is loaded later
        self._kept: dict[str, Tensor] = {}
        if files and fingerprint is not None:
            self.fingerprint = fingerprint
            self._kept = _kept_sentences(files)
        else:
            self.fingerprint = self._checked_fingerprint(fingerprint)
        self.cache_folder = cache_folder() / "sentences" / self.fingerprint
        self._dim: int | None = None
        self._dim = (next(iter(self._kept.values())) if self._kept else self._embed_one("size")).shape[0]

    def _checked_fingerprint(self, expected: str | None) -> str:
        found = model_fingerprint(self.name_or_path)
        if expected not in (None, found):
            raise ValueError(
                f"text model {self.name_or_path!r} is not the one of the training; put that one in its place"
            )
        return found

    def keep(self, sentences: Iterable[str]) -> None:
        """Embed sentences, and keep the result in `assets`, so that a bundle needs no model for them."""
        for sentence in sentences:
            self._kept[sentence] = self._embed_one(sentence)

    def assets(self) -> dict[str, bytes]:
        """Return the sentences that are kept and their embeddings, by path in a bundle; none if none are kept."""
        if not self._kept:
            return {}
        folder = asset_folder("sentences", self.fingerprint)
        return {
            f"{folder}/{SENTENCES}": json.dumps(list(self._kept), ensure_ascii=False).encode(),
            f"{folder}/{EMBEDDINGS}": save({"embeddings": torch.stack(list(self._kept.values()))}),
        }

    @property
    def dim(self) -> int:
        """Size of one embedding."""
        assert self._dim is not None, "set when this was made"
        return self._dim

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(N, dim) float32, each sentence on its own: padding it to its neighbours would change its last bits."""
        return torch.stack([self._embed_one(sentence) for sentence in sentences])

    def _embed_one(self, sentence: str) -> Tensor:
        if sentence in self._kept:
            return self._kept[sentence]
        path = self._path(sentence)
        if path.exists():
            found = _read_vector(path, self._dim)
            if not isinstance(found, str):
                return torch.from_numpy(found)
            LOGGER.warning("%s: %s, so that %r is embedded again", path, found, sentence)
        value = self._model_for(sentence).embed([sentence])[0]
        if self._dim is not None and value.shape != (self._dim,):
            raise ValueError(
                f"{self._path('size')}: holds {self._dim} numbers, but the model gives {len(value)}; remove the file"
            )
        try:
            self._keep(path, value.numpy())
        except OSError as error:
            LOGGER.warning(
                "cannot keep sentence embeddings (%s); set TEMPOVLA_CACHE to a folder that can be written", error
            )
        return value

    def _path(self, sentence: str) -> Path:
        return self.cache_folder / f"{hashlib.sha256(sentence.encode()).hexdigest()}.npy"

    def _model_for(self, sentence: str) -> TextModel:
        """The model; what goes wrong with it is told with the sentence, where others are known without it."""
        if not self._kept:
            return self.model
        try:
            with from_disk_alone(self._disk_alone):
                self._checked_fingerprint(self.fingerprint)
            return self.model
        except ValueError as error:
            raise ValueError(
                f"instruction {brief(sentence)} is not among the {len(self._kept)} that are kept with the checkpoint, "
                f"and {error}; or use one of those, such as {next(iter(self._kept))!r}"
            ) from None

    def _keep(self, path: Path, value: NDArray[np.float32]) -> None:
        with new_file(path) as staged, staged.open("wb") as file:
            np.save(file, value, allow_pickle=False)

    @cached_property
    def model(self) -> TextModel:
        """The model, loaded when it is first needed."""
        with from_disk_alone(self._disk_alone):
            return TextModel(self.name_or_path)

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return {"kind": "transformers", "name_or_path": self.name_or_path, "fingerprint": self.fingerprint}


def _kept_sentences(files: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The sentences of a bundle and their embeddings.

    Raises:
        ValueError: if they are not one finite vector each, all of one size.
    """
    try:
        text, values = files[SENTENCES].decode(), load(files[EMBEDDINGS])["embeddings"]
    except (KeyError, ValueError, SafetensorError) as error:
        raise ValueError(f"embedded sentences are not readable ({error}); copy the bundle again") from None
    sentences = parse_json(text, f"embedded sentences: {SENTENCES}", remedy="copy the bundle again")
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise ValueError(f"{SENTENCES} is not a list of sentences; copy the bundle again")
    if values.dim() != 2 or len(values) != len(sentences) or values.dtype != torch.float32:
        raise ValueError(
            f"{EMBEDDINGS} holds {values.dtype} of shape {list(values.shape)} for {len(sentences)} sentences; copy the "
            "bundle again"
        )
    broken = (~values.isfinite().all(dim=1)).nonzero()
    if len(broken):
        raise ValueError(f"{EMBEDDINGS}: that of {sentences[int(broken[0])]!r} is not finite; copy the bundle again")
    return dict(zip(sentences, values, strict=True))


def _read_vector(path: Path, dim: int | None) -> NDArray[np.float32] | str:
    """A sentence's embedding (dim,), or what is wrong with the file; any size will do where none is known yet."""
    if not path.is_file():  # a pipe would block
        return "is no file"
    try:
        value = np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # mapped: a header cannot ask for memory
    except (
        OSError,
        ValueError,
        EOFError,
        SyntaxError,
        TokenError,
    ) as error:  # headers are Python
        return f"not readable ({(str(error).splitlines() or [type(error).__name__])[0][:200]})"
    if value.dtype != np.float32 or value.ndim != 1 or len(value) != (dim or len(value)) or not len(value):
        return f"holds {value.dtype} of shape {list(value.shape)}" + (f" instead of [{dim}]" if dim else "")
    return value if np.isfinite(value).all() else "is not finite"


class TextModel:
    """A transformers text model in memory; arguments and errors as of `TransformersTextEmbedder`."""

    def __init__(self, name_or_path: str) -> None:
        from transformers import AutoConfig, AutoTokenizer

        self.name_or_path = name_or_path
        folder = Path(name_or_path)
        if folder.is_dir():
            check_config(folder, "text model")
        with one_line_errors(name_or_path, "text model"):
            kind = _text_model_class(AutoConfig.from_pretrained(name_or_path, trust_remote_code=False))
        if folder.is_dir():
            check_tokenizer(folder, "give another text model")
            safetensors_of(folder, "text model")
        with one_line_errors(name_or_path, "text model"):
            self.tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
            model, loading = kind.from_pretrained(name_or_path, use_safetensors=True, output_loading_info=True)
        missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
        if missing:
            raise ValueError(
                f"text model {name_or_path!r} lacks weights such as {missing[0]!r}; give a whole checkpoint"
            )
        self.model = model.eval().requires_grad_(False)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @torch.no_grad()
    def embed(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32.

        Raises:
            ValueError: naming the model, if its tokenizer or its settings do not fit it.
        """
        with one_line_errors(self.name_or_path, "text model"):
            tokens = self.tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
            highest, size = int(tokens["input_ids"].max()), self.model.get_input_embeddings().num_embeddings
        if highest >= size:
            raise ValueError(
                f"text model {self.name_or_path!r} knows {size} tokens, but its tokenizer gives token {highest}; "
                "copy the model and its tokenizer again"
            )
        with one_line_errors(self.name_or_path, "text model"):
            output = self.model(**tokens)
        if "text_embeds" in output:
            return output.text_embeds.float()
        mask = tokens["attention_mask"].bool()[..., None]
        hidden = torch.where(mask, output.last_hidden_state.float(), 0.0)
        return hidden.sum(dim=1) / mask.sum(dim=1)


def _text_model_class(config: Any) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding, CLIPTextModelWithProjection

    if config.model_type in ("clip", "clip_text_model"):
        return CLIPTextModelWithProjection
    if hasattr(config, "vision_config"):
        raise ValueError(
            f"a {config.model_type} also reads pictures, and of such models only CLIP's text half is supported"
        )
    # An encoder-decoder such as T5 is loaded without its decoder.
    return AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
