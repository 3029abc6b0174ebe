"""LLaVA's format, as it should be and as it should not."""

from __future__ import annotations

import json

import pytest
from tests.chats import item, write_conversations

from tempovla.data.conversations import read_conversations, read_questions
from tempovla.data.errors import DatasetError
from tempovla.transform.chat import Turn


def test_lines_become_turns_without_the_tag_and_pictures_are_found(tmp_path):
    path = write_conversations(tmp_path, [item(), item(question="what is it\n<image>", image="images/1.png")])
    first, second = read_conversations(path)
    assert first.turns == (Turn("user", "what is it"), Turn("assistant", "a red square"))
    assert second.turns == first.turns
    assert [conversation.image for conversation in (first, second)] == [
        tmp_path / "images" / "0.png",
        tmp_path / "images" / "1.png",
    ]
    assert second.where == f"{path}:2"


def test_an_array_is_read_as_lines_are(tmp_path):
    path = write_conversations(tmp_path)
    items = [json.loads(line) for line in path.read_text().splitlines()]
    array = tmp_path / "array.json"
    array.write_text("\ufeff" + json.dumps(items, indent=2), encoding="utf-8")
    lines, listed = read_conversations(path), read_conversations(array)
    assert [(c.turns, c.image) for c in listed] == [(c.turns, c.image) for c in lines]
    assert listed[2].where == f"{array}: item 3"


def test_a_text_without_a_picture_several_turns_and_a_system_are_fine(tmp_path):
    said = [("system", "be short"), ("human", "hi"), ("gpt", "hello"), ("human", "again"), ("gpt", "hello\u2028again")]
    turns = [{"from": speaker, "value": value} for speaker, value in said]
    path = write_conversations(tmp_path, [{"conversations": turns}])
    path.write_text(json.dumps({"conversations": turns}, ensure_ascii=False) + "\n\n")  # U+2028 ends no line of JSONL
    (conversation,) = read_conversations(path)
    assert conversation.image is None
    assert [turn.speaker for turn in conversation.turns] == ["system", "user", "assistant", "user", "assistant"]


def test_images_may_lie_in_another_folder_also_behind_a_link(tmp_path):
    write_conversations(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "coco").symlink_to(tmp_path / "elsewhere" / "images")
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps(item(image="coco/3.png")))
    (conversation,) = read_conversations(path, tmp_path / "root")
    assert conversation.image == tmp_path / "root" / "coco" / "3.png"


def turns(*said: tuple[str, str]) -> dict[str, object]:
    return item(conversations=[{"from": speaker, "value": value} for speaker, value in said])


BAD = {
    "no object": ([1], "holds a list, not an object"),
    "no conversations": ({"image": "images/0.png", "text": 1}, "key 'conversations' is missing, there is ['image', 't"),
    "empty": (item(conversations=[]), "'conversations' is [], not a list of turns; write at least two"),
    "no list": (item(conversations="hi"), "'conversations' is 'hi', not a list of turns"),
    "turn": (item(conversations=["hi"]), "conversations[0] is 'hi', not an object"),
    "no from": (item(conversations=[{"value": "hi"}]), "conversations[0]: key 'from' is missing; add it"),
    "no value": (item(conversations=[{"from": "human"}]), "conversations[0]: key 'value' is missing; add it"),
    "number": (item(conversations=[{"from": "human", "value": 3}]), "key 'value' is 3, not a string"),
    "speaker": (turns(("robot", "hi")), "conversations[0]: speaker 'robot' is unknown; choose from human, gpt, system"),
    "nothing said": (item(answer="  "), "conversations[1]: 'value' is empty; write the text"),
    "gpt first": (turns(("gpt", "hi"), ("human", "hi")), "conversations[0] is from 'gpt', where 'human' must speak"),
    "twice": (turns(("human", "hi"), ("human", "hi")), "conversations[1] is from 'human', where 'gpt' must speak"),
    "no answer": (turns(("human", "hi")), "conversations[0] has no answer; let the last one be from 'gpt'"),
    "late system": (turns(("human", "hi"), ("system", "x")), "conversations[1] is from 'system'"),
    "no image": (item(image=None), "conversations[0] has <image>, but there is no 'image'; add its path"),
    "two tags": (item(question="<image><image> what"), "'conversations' has <image> more than once"),
    "tag in answer": (item(answer="<image>", question="what"), "conversations[1] has <image>, but is not the human's"),
    "image list": (item(image=["a", "b"]), "'image' is ['a', 'b'], not a path"),
    "missing image": (item(image="images/none.png"), "'image' 'images/none.png' is no file in"),
    "folder": (item(image="images"), "'image' 'images' is no file in"),
    "absolute": (item(image="/etc/hostname"), "'image' '/etc/hostname' leads out of"),
    "dots": (item(image="images/../../secret.png"), "'image' 'images/../../secret.png' leads out of"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, name):
    bad, message = BAD[name]
    path = write_conversations(tmp_path, [item(), bad])
    if isinstance(bad, list):
        path.write_text(json.dumps(item()) + "\n" + json.dumps(bad))
    with pytest.raises(DatasetError) as error:
        read_conversations(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"conversations": [{"from": "hu',
            ":1: not readable as JSON (Unterminated string starting at: line 1",
        ),
        (b'[{"conversations": []},\n {"a"]', ": not readable as JSON (Expecting ':' delimiter: line 2 column 6"),
        (b"\xff\xfe\x00", ": is UTF-16; save it as UTF-8, or give a JSONL file"),
        (b"\n\n", ": holds no conversation; give LLaVA's format"),
        (b"[]", ": holds no conversation; give LLaVA's format"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        read_conversations(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_an_absent_file_or_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none.jsonl: no such file; give a JSONL"):
        read_conversations(tmp_path / "none.jsonl")
    with pytest.raises(DatasetError, match="nowhere: no such folder; give the one that holds the images"):
        read_conversations(write_conversations(tmp_path), tmp_path / "nowhere")


def test_questions_of_a_file_are_those_of_its_conversations_or_its_own(tmp_path):
    path = write_conversations(tmp_path)
    assert [question.text for question in read_questions(path)] == ["what is it"] * 10
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text('{"text": "<image>\\nwhy"}\n{"question": "who", "image": "images/1.png"}\n')
    why, who = read_questions(mixed)
    assert (why.text, why.image, why.where) == ("why", None, f"{mixed}:1")
    assert (who.text, who.image) == ("who", tmp_path / "images" / "1.png")
    images = tmp_path / "images"
    (images / "elsewhere.jsonl").write_text('{"question": "who", "image": "1.png"}')
    assert read_questions(images / "elsewhere.jsonl", images)[0].image == images / "1.png"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "holds no question; write objects such as"),
        ("3", ":1: holds a int, not an object; write one with 'question'"),
        ('{"image": "images/1.png"}', ":1: key 'question' is None; write the question in words"),
        ('{"question": "<image>"}', ":1: key 'question' is '<image>'; write the question in words"),
        ('{"question": "who", "image": "none.png"}', ":1: 'image' 'none.png' is no file in"),
    ],
)
def test_what_is_no_question_is_named(tmp_path, line, message):
    (tmp_path / "q.jsonl").write_text(line + "\n")
    with pytest.raises(DatasetError, match=r"q\.jsonl") as refused:
        read_questions(tmp_path / "q.jsonl")
    assert message in str(refused.value)
