"""Conversations about pictures, in LLaVA's format: JSON objects, one a line or in one array.

An item has `conversations`, a list of turns ``{"from": "human" | "gpt" | "system", "value": TEXT}``, and may have
`image`, a path relative to the folder of images; `id` and other keys are ignored. `<image>` in a question
marks the picture and is removed: a model sees the picture before the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.storage.json_files import parse_json, read_text
from tempovla.transform.chat import Speaker, Turn

IMAGE_TAG = "<image>"
MOST_CONVERSATION_BYTES = 4 << 30
"""Four times what LLaVA's 665,000 conversations take."""
SPEAKERS: dict[str, Speaker] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


@dataclass(frozen=True)
class Conversation:
    """Questions and answers, about a picture or not.

    Attributes:
        where: file and line, for messages.
        turns: perhaps the system's, then the user's and the assistant's in turn, the last one the assistant's.
        image: file of the picture.
    """

    where: str
    turns: tuple[Turn, ...]
    image: Path | None


def read_conversations(path: str | Path, image_root: str | Path | None = None) -> list[Conversation]:
    """Return all conversations of a file.

    Args:
        path: a file of JSON objects, one a line, or of one JSON array of them.
        image_root: folder that the paths of images are relative to; None takes the file's own. Links in it are
            followed.

    Raises:
        DatasetError: of one line that names file, line or item, and key, if there is no such file, JSON or key, an
            image is missing or outside of the folder, or turns are empty or out of turn.
    """
    file = Path(path)
    root = file.parent if image_root is None else Path(image_root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give the one that holds the images")
    conversations = [_conversation(item, where, root) for where, item in _items(file)]
    if not conversations:
        raise DatasetError(
            f"{file}: holds no conversation; give LLaVA's format, JSON objects one a line or in an array"
        )
    return conversations


@dataclass(frozen=True)
class Question:
    """A question to a model.

    Attributes:
        turns: perhaps the system's and earlier ones, the last one the user's.
        image: file of the picture that it is about; None for none.
        where: file and line, for messages; "" where it comes from no file.
    """

    turns: tuple[Turn, ...]
    image: Path | None = None
    where: str = ""

    @property
    def text(self) -> str:
        """The text of the last turn."""
        return self.turns[-1].text


def read_questions(path: str | Path, image_root: str | Path | None = None) -> list[Question]:
    """Return all questions of a file.

    Args:
        path: a file of JSON objects, one a line or in one array. Each has `question` (or `text`) and may have `image`;
            or it is a conversation as `read_conversations` reads it, of which the first question is asked.
        image_root: folder that the paths of images are relative to; None takes the file's own.

    Raises:
        DatasetError: of one line that names file, line or item, and key.
    """
    file = Path(path)
    root = file.parent if image_root is None else Path(image_root)
    questions = [_question(item, where, root) for where, item in _items(file)]
    if not questions:
        raise DatasetError(f'{file}: holds no question; write objects such as {{"image": ..., "question": ...}}')
    return questions


def _question(item: Any, where: str, root: Path) -> Question:
    if isinstance(item, dict) and "conversations" in item:
        conversation = _conversation(item, where, root)
        speakers = [turn.speaker for turn in conversation.turns]
        return Question(conversation.turns[: speakers.index("assistant")], conversation.image, where)
    if not isinstance(item, dict):
        raise DatasetError(f"{where}: holds a {type(item).__name__}, not an object; write one with 'question'")
    text = item.get("question", item.get("text"))
    if not isinstance(text, str) or not text.replace(IMAGE_TAG, "").strip():
        raise DatasetError(f"{where}: key 'question' is {_short(text)}; write the question in words")
    return Question((Turn("user", text.replace(IMAGE_TAG, "").strip()),), _image(item, where, root), where)


def _items(file: Path) -> Iterator[tuple[str, Any]]:
    """Where each item is, and what it is."""
    text = read_text(
        file, remedy="give a JSONL file of conversations", error=DatasetError, most_bytes=MOST_CONVERSATION_BYTES
    )
    if text.lstrip().startswith("["):
        array = parse_json(text, f"{file}:", remedy="correct the array", error=DatasetError)
        yield from ((f"{file}: item {index}", item) for index, item in enumerate(array, start=1))
        return
    remedy = "correct the line, or copy the file again if it was cut off"
    for number, line in enumerate(text.split("\n"), start=1):  # only these end a line of JSONL
        if line.strip():
            yield f"{file}:{number}", parse_json(line, f"{file}:{number}:", remedy=remedy, error=DatasetError)


def _conversation(item: Any, where: str, root: Path) -> Conversation:
    if not isinstance(item, dict):
        raise DatasetError(f"{where}: holds a {type(item).__name__}, not an object; write one with 'conversations'")
    if "conversations" not in item:
        raise DatasetError(f"{where}: key 'conversations' is missing, there is {sorted(item)}; add the list of turns")
    said = item["conversations"]
    if not isinstance(said, list) or not said:
        raise DatasetError(f"{where}: 'conversations' is {_short(said)}, not a list of turns; write at least two")
    turns = [_turn(turn, f"{where}: conversations[{index}]") for index, turn in enumerate(said)]
    _check_order(turns, where)
    image = _image(item, where, root)
    tags = [(index, turn.text.count(IMAGE_TAG)) for index, turn in enumerate(turns) if IMAGE_TAG in turn.text]
    if tags and image is None:
        raise DatasetError(
            f"{where}: conversations[{tags[0][0]}] has {IMAGE_TAG}, but there is no 'image'; add its path"
        )
    if sum(count for _, count in tags) > 1:
        raise DatasetError(f"{where}: 'conversations' has {IMAGE_TAG} more than once; an item has one image, split it")
    if tags and turns[tags[0][0]].speaker != "user":
        raise DatasetError(
            f"{where}: conversations[{tags[0][0]}] has {IMAGE_TAG}, but is not the human's; move it there"
        )
    plain = [Turn(turn.speaker, turn.text.replace(IMAGE_TAG, "").strip()) for turn in turns]
    return Conversation(where, tuple(plain), image)


def _turn(turn: Any, where: str) -> Turn:
    if not isinstance(turn, Mapping):
        raise DatasetError(f"{where} is {_short(turn)}, not an object; write {{'from': ..., 'value': ...}}")
    for key in ("from", "value"):
        if not isinstance(turn.get(key), str):
            problem = f"is {_short(turn[key])}, not a string" if key in turn else "is missing"
            raise DatasetError(f"{where}: key {key!r} {problem}; add it")
    if turn["from"] not in SPEAKERS:
        raise DatasetError(f"{where}: speaker {turn['from']!r} is unknown; choose from human, gpt, system")
    speaker, text = SPEAKERS[turn["from"]], turn["value"].strip()
    if not text:
        raise DatasetError(f"{where}: 'value' is empty; write the text, or leave the item out")
    return Turn(speaker, text)


def _check_order(turns: list[Turn], where: str) -> None:
    """The human and gpt speak in turn, after the system, and gpt has the last word."""
    start = 1 if turns[0].speaker == "system" else 0
    for index, turn in enumerate(turns[start:], start=start):
        wanted = "user" if (index - start) % 2 == 0 else "assistant"
        if turn.speaker != wanted:
            names = {"user": "human", "assistant": "gpt", "system": "system"}
            raise DatasetError(
                f"{where}: conversations[{index}] is from {names[turn.speaker]!r}, where {names[wanted]!r} must speak; "
                "begin with human, and let gpt answer each time"
            )
    if turns[-1].speaker != "assistant":
        raise DatasetError(f"{where}: conversations[{len(turns) - 1}] has no answer; let the last one be from 'gpt'")


def _image(item: Mapping[str, Any], where: str, root: Path) -> Path | None:
    name = item.get("image")
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        raise DatasetError(f"{where}: 'image' is {_short(name)}, not a path; give one relative to {root}")
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise DatasetError(f"{where}: 'image' {name!r} leads out of {root}; give a path relative to it, without '..'")
    if not (root / relative).is_file():
        raise DatasetError(f"{where}: 'image' {name!r} is no file in {root}; add it, or give its folder as image_root")
    return root / relative


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
