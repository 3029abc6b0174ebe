"""Fingerprints that tell pretrained models of the same name apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tempovla.timeline.model_folder import check_text, one_line_errors

PARTS = frozenset({".json", ".safetensors", ".bin", ".model", ".txt"})
"""Endings of the files that a transformers model is made of: config, weights, tokenizer, image processor."""


def model_fingerprint(name_or_path: str) -> str:
    """Return 64 hexadecimal digits that another config, tokenizer or set of weights would change.

    Of a local folder they are a hash of its files, of a name on a hub a hash of the commit that is at hand.

    Raises:
        ValueError: if there is no such model, or a text in it is too large to be one.
    """
    digest = hashlib.sha256()
    folder = Path(name_or_path)
    if folder.is_dir():
        for path in sorted(path for path in folder.iterdir() if path.suffix in PARTS and path.is_file()):
            if path.suffix == ".json":
                check_text(path)
            digest.update(f"{path.name}:{path.stat().st_size}:".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    else:
        digest.update(_commit(name_or_path).encode())
    return digest.hexdigest()


def _commit(name: str) -> str:
    from transformers import AutoConfig

    with one_line_errors(name, "model"):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    return f"{name}@{config._commit_hash}"
