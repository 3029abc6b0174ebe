"""Checks of a folder with a transformers model, before anything is loaded; each error names the file.

Weights are read from safetensors files alone: a `pytorch_model.bin` is a pickle, which could run code.
"""

from __future__ import annotations

import math
import os
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tempovla.storage.json_files import is_lfs_pointer, lfs_problem, read_json, shown
from tempovla.storage.paths import inside, regular_file
from tempovla.timeline.hub import ASK_HUB_VARIABLE, hub_as_allowed, hub_may_be_asked

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
FAST_TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (
    FAST_TOKENIZER,
    "tokenizer.model",
    "tokenizer.model.v3",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "source.spm",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
    "tiktoken.model",
    "qwen.tiktoken",
)
"""One of these is in every tokenizer's folder."""
AGAIN = "copy the model again"
LAYERS, SIZES = ("layers", "n_layer", "depth"), ("_size", "_dim", "_heads", "_embeddings", "_channels", "n_embd")
"""Ends of the names of sizes in a config.json, from which a model is built."""
SHARES = ("dropout", "dropout_rate", "dropout_prob", "pdrop")
"""How the names of probabilities end."""
POSITIVE = ("rope_theta", "norm_eps", "norm_epsilon")
"""Ends of the names of settings with which a model gives no number unless they are positive."""
SWITCHES = ("output_hidden_states", "output_attentions", "return_dict")
"""Settings of every transformers config that are true, false or absent; transformers itself takes anything."""
MOST_TEXT_BYTES = 256 << 20
MOST_LAYERS, MOST_OF_A_SIZE = 1_000, 1 << 24


def check_config(folder: Path, purpose: str) -> None:
    """Refuse a folder without a readable config.json, or with sizes that no model has, before anything is built.

    Texts of gigabytes, which transformers would read whole, are refused, too.

    Args:
        folder: of the model.
        purpose: the model's purpose, for messages, such as `vision model`.

    Raises:
        ValueError: if there is none, it is no JSON object, or one of its sizes is beyond any model.
    """
    path = folder / CONFIG
    for text in sorted(folder.glob("*.json")):
        check_text(text)
    settings = read_json(path, remedy=f"give the folder of a {purpose} as save_pretrained writes it")
    excess = excessive_size(settings)
    if excess is not None:
        raise ValueError(f"{path}: {excess}; {AGAIN}")


def check_text(path: Path) -> None:
    """Refuse a text of a model that is larger than the largest tokenizers are.

    Raises:
        ValueError: if it is.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size > MOST_TEXT_BYTES:
        raise ValueError(f"{path}: has {size:,} bytes, where at most {MOST_TEXT_BYTES:,} make sense; {AGAIN}")


def excessive_size(settings: Mapping[str, Any]) -> str | None:
    """Return a phrase about a number in a transformers config that no model has; None where all are usual."""
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        path, part = waiting.pop()
        entries = part.items() if isinstance(part, Mapping) else enumerate(part)
        for key, value in entries:
            name = f"{path}.{key}" if path else str(key)
            if key in SWITCHES and not isinstance(value, bool | None):
                return f"{name} is {shown(value)}, where models have true or false"
            if isinstance(value, Mapping | list):
                waiting.append((name, value))
            elif type(value) in (int, float):
                most = MOST_LAYERS if name.endswith(LAYERS) else MOST_OF_A_SIZE if name.endswith(SIZES) else None
                if name.endswith(SHARES) and not 0 <= value <= 1:
                    return f"{name} is {shown(value)}, no probability from 0 to 1"
                if name.endswith(POSITIVE) and not 0 < value < math.inf:
                    return f"{name} is {shown(value)}, where models have a positive number"
                if most is not None and not 0 <= value <= most:
                    return f"{name} is {shown(value)}, where models have from 0 to {most:,}"
    return None


def check_tokenizer(folder: Path, remedy: str) -> None:
    """Refuse a folder in which no tokenizer lies, or a damaged one.

    Raises:
        ValueError: naming the folder or file and the remedy.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(
            f"{folder}: holds no tokenizer (no {', '.join(TOKENIZER_FILES[:2])} or vocab.json); copy its files there, "
            f"or {remedy}"
        )
    again = "copy the tokenizer again"
    for path in (folder / name for name in (FAST_TOKENIZER, "tokenizer_config.json") if (folder / name).is_file()):
        told = read_json(path, remedy=again)
        length = told.get("model_max_length")
        is_length = (type(length) is int and length > 0) or (type(length) is float and 1e20 < length < math.inf)
        if length is not None and not is_length:
            raise ValueError(f"{path}: model_max_length is {shown(length)}, no number of tokens; {again}")
        missing = {"added_tokens", "model"} - told.keys()
        if path.name == FAST_TOKENIZER and missing:
            raise ValueError(f"{path}: has no {min(missing)!r}, so it is no tokenizer; {again}")
        wrong = _no_token(told) if path.name == FAST_TOKENIZER else None
        if wrong is not None:
            raise ValueError(f"{path}: {wrong}; {again}")


def _no_token(tokenizer: Mapping[str, Any]) -> str | None:
    """Which number in a tokenizer.json is no token's, in words: memory is taken for as many as the highest says."""
    model, added = tokenizer["model"], tokenizer["added_tokens"]
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    numbers = vocabulary.items() if isinstance(vocabulary, Mapping) else ()
    if not isinstance(added, list | None):
        return f"added_tokens is {shown(added)}, no list"
    told = [(entry.get("content"), entry.get("id")) for entry in added or () if isinstance(entry, Mapping)]
    for content, number in (*numbers, *told):
        if type(number) is not int or not 0 <= number <= MOST_OF_A_SIZE:
            return f"token {shown(content)} has the number {shown(number)}, and none is outside 0 to {MOST_OF_A_SIZE:,}"
    return None


def safetensors_of(folder: Path, purpose: str) -> dict[str, str]:
    """Return the file of every weight in a folder, by the name of the weight. All these files are complete.

    Args:
        folder: of the model.
        purpose: the model's purpose, for messages.

    Raises:
        ValueError: if there are no weights in safetensors, a file of them is missing or truncated, or the index names a
            weight that its file has not.
    """
    if (folder / WEIGHTS).exists():
        inside(folder, WEIGHTS, said_by="the model", remedy=AGAIN)
        return dict.fromkeys(_names(folder / WEIGHTS), WEIGHTS)
    if not (folder / INDEX).exists():
        raise ValueError(f"{folder}: {_instead(folder, purpose)}")
    file_of = read_json(folder / INDEX, remedy=AGAIN).get("weight_map")
    if not isinstance(file_of, dict) or not file_of:
        raise ValueError(f"{folder / INDEX}: has no weight_map; {AGAIN}")
    named = defaultdict(list)
    for name, file in file_of.items():
        named[str(file)].append(name)
    for file, names in sorted(named.items()):
        inside(folder, file, said_by=f"{INDEX}: weight_map", remedy=AGAIN)
        if not (folder / file).is_file():
            raise ValueError(f"{folder / file}: no such file, but {INDEX} names it; {AGAIN}")
        absent = sorted(set(names) - _names(folder / file))
        if absent:
            raise ValueError(f"{folder / file}: holds no weight {absent[0]!r}, but {INDEX} says so; {AGAIN}")
    return file_of


def conversion_remedy(folder: Path) -> str | None:
    """Return how the weights of a folder become safetensors; None if there is no pickle of them."""
    if (folder / PICKLE).exists() or (folder / PICKLE_INDEX).exists():
        return (
            f"its weights are in {PICKLE if (folder / PICKLE).exists() else PICKLE_INDEX}, a pickle, which could run "
            f"code and is not opened; convert them with `tempovla convert weights {shlex.quote(str(folder))}`"
        )
    return None


def _instead(folder: Path, purpose: str) -> str:
    """What is wrong with a folder without weights in safetensors."""
    remedy = conversion_remedy(folder)
    if remedy is not None:
        return remedy
    parts = sorted(path.name for path in folder.glob("model-*-of-*.safetensors"))
    if parts:
        return f"holds {parts[0]}, but no {INDEX}, which says what is where; {AGAIN}"
    others = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    told = f", only {others[0]}, a pickle, which could run code and is not opened" if others else ""
    return f"holds no {WEIGHTS} or {INDEX}{told}; give the folder of a {purpose} as save_pretrained writes it"


def _names(path: Path) -> set[str]:
    """Names of the weights in a file, which is whole.

    Raises:
        ValueError: if it is not readable.
    """
    regular_file(path, remedy=AGAIN)
    if is_lfs_pointer(path):
        raise ValueError(lfs_problem(path))
    try:
        with safe_open(path, framework="pt") as stored:
            return set(stored.keys())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not readable ({error}); {AGAIN}") from None


@contextmanager
def one_line_errors(name_or_path: str, purpose: str) -> Iterator[None]:
    """Turn an error in reading a model into a `ValueError` that names the model and the remedy.

    Inside `from_disk_alone`, no hub is asked.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # transformers checks few of the values that a config.json gives it: what a wrong one comes to is of any kind
    of_values = (LookupError, TypeError, AttributeError, ArithmeticError, MemoryError)
    of_files = (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError)
    try:
        with hub_as_allowed():
            yield
    except BaseException as error:
        # tokenizers says nothing more precise of a damaged tokenizer.json than Exception, or panics in its Rust
        is_of_tokenizers = type(error) is Exception or type(error).__name__ == "PanicException"
        if not (is_of_tokenizers or isinstance(error, of_files + of_values)):
            raise
        raise ValueError(
            f"{purpose} {name_or_path!r} does not load ({first_reason(error)}); {_remedy(name_or_path)}"
        ) from None


def first_reason(error: BaseException) -> str:
    """Return the first line of an error, and the second where the first only introduces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    last = 2 if lines[0].endswith(":") else 1
    reason = " ".join(lines[:last]).rstrip(".:")
    return f"{type(error).__name__}: {reason}" if isinstance(error, KeyError | AssertionError) else reason


def _remedy(name_or_path: str) -> str:
    if Path(name_or_path).is_dir():
        return (
            "give the name or folder of a transformers model: config.json and *.safetensors, as save_pretrained writes "
            "them, and preprocessor_config.json with its image processor where it reads pictures"
        )
    if name_or_path.startswith((".", "~", os.sep)) or name_or_path.count("/") > 1:
        return "give the name or folder of a transformers model; there is no such folder"
    if not hub_may_be_asked():
        return (
            "a checkpoint alone does not allow asking the hub: get the model with `hf download "
            f"{shlex.quote(name_or_path)}`, or set {ASK_HUB_VARIABLE}=1 if you trust the checkpoint"
        )
    return (
        "give the name or folder of a transformers model; without a network (or with HF_HUB_OFFLINE=1), a folder or a "
        "model that was downloaded before"
    )
