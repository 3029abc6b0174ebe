"""Conversations about pictures and a tokenizer with a chat template, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHATML = (
    "<s>{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
TEXT = ("user", "assistant", "nl", "what", "is", "it", "a", "red", "square", "blue")
IDS = {word: index for index, word in enumerate(("<unk>", "<s>", "<turn>", "</turn>", *TEXT))}
MEANING = {index: word for word, index in IDS.items()}


def save_chat_tokenizer(folder: Path, template: str | None = CHATML, end: str | None = "</turn>") -> str:
    """The folder, with a tokenizer of whole words in it, of which a line's end is one."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace("\n", " nl ")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", IDS["<s>"])])
    special = {"unk_token": "<unk>", "bos_token": "<s>", **({"eos_token": end} if end else {})}
    more = {"additional_special_tokens": ["<turn>", "</turn>"]}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special, **more).save_pretrained(
        folder
    )
    return str(folder)


def picture(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    """(H, W, 3) uint8, random."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def item(answer: str = "a red square", question: str = "<image>\nwhat is it", **more: Any) -> dict[str, Any]:
    """One item in LLaVA's format."""
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": "0", "image": "images/0.png", "conversations": turns, **more}


def write_conversations(folder: Path, items: list[Mapping[str, Any]] | None = None, count: int = 10) -> Path:
    """A JSONL file of `count` pictures in red or blue, which alone tell the answers, or of given `items`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        pixels = picture(index)
        pixels[..., 0 if index % 2 else 2] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        made.append(item("red" if index % 2 else "blue", id=str(index), image=f"images/{index}.png"))
    path = folder / "conversations.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in (made if items is None else items)))
    return path
