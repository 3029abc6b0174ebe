"""What a folder with a transformers model must hold, told in one line that names the file before anything is loaded.

Weights are read from safetensors files alone: a `pytorch_model.bin` is a pickle, which could run code.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tempovla.timeline.bundle import read_json

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
POINTER = b"version https://git-lfs"
TOKENIZER_FILES = (
    "tokenizer.json",
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


def check_config(folder: Path, purpose: str) -> None:
    """Refuse a folder without a readable config.json.

    Args:
        folder: of the model.
        purpose: what the model is for, as messages name it, such as `vision model`.

    Raises:
        ValueError: if there is none, or it is no JSON object.
    """
    read_json(folder / CONFIG, remedy=f"give the folder of a {purpose} as save_pretrained writes it")


def check_tokenizer(folder: Path, remedy: str) -> None:
    """Refuse a folder in which no tokenizer lies.

    Raises:
        ValueError: naming the folder and the remedy.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(
            f"{folder}: holds no tokenizer (no {', '.join(TOKENIZER_FILES[:2])} or vocab.json); copy its files there, "
            f"or {remedy}"
        )


def safetensors_of(folder: Path, purpose: str) -> dict[str, str]:
    """Name of every weight in a folder to its file there, all of which are whole.

    Args:
        folder: of the model.
        purpose: what the model is for, as messages name it.

    Raises:
        ValueError: if there are no weights in safetensors, a file of them is missing or truncated, or the index names a
            weight that its file has not.
    """
    if (folder / WEIGHTS).exists():
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
        if not (folder / file).is_file():
            raise ValueError(f"{folder / file}: no such file, but {INDEX} names it; {AGAIN}")
        absent = sorted(set(names) - _names(folder / file))
        if absent:
            raise ValueError(f"{folder / file}: holds no weight {absent[0]!r}, but {INDEX} says so; {AGAIN}")
    return file_of


def conversion_remedy(folder: Path) -> str | None:
    """How the weights of a folder become safetensors; None if there is no pickle of them."""
    if (folder / PICKLE).exists() or (folder / PICKLE_INDEX).exists():
        return (
            f"its weights are in {PICKLE if (folder / PICKLE).exists() else PICKLE_INDEX}, a pickle, which could run "
            f"code and is not opened; convert them with `tempovla convert weights {folder}`"
        )
    return None


def check_no_pointer(path: Path) -> None:
    """Refuse what Git leaves in the place of a large file that was not fetched.

    Raises:
        ValueError: if the file is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ValueError(
                f"{path}: is a pointer of Git LFS, in the place of a file that was not fetched; run `git lfs pull`"
            )


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
    check_no_pointer(path)
    try:
        with safe_open(path, framework="pt") as stored:
            return set(stored.keys())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not readable ({error}); {AGAIN}") from None
