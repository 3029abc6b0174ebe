"""Conversations as token ids, with marks on the tokens to learn: answers and their ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from tempovla.timeline.assets import assets_of
from tempovla.transform.tokenize import LONGEST
from tempovla.transform.tokenizer import Tokenizer, TransformersTokenizer, tokenizer_from_json

Speaker = Literal["system", "user", "assistant"]
PROBE = "a"
"""A sample answer, which shows where answers begin and end in a template."""


class Turn(NamedTuple):
    """The text of one speaker."""

    speaker: Speaker
    text: str


class ChatTokens(NamedTuple):
    """A conversation as ids, of equal length with `learned`, and whether it lost its end for being too long."""

    ids: list[int]
    learned: list[bool]
    is_cut: bool


class ChatTokenizer:
    """Puts conversations into the words of a chat, and these into ids.

    A tokenizer's own chat template is used where it has one. The plain one, for hashed words and base models, is
    ``USER: <question>``, ``ASSISTANT:`` and ``<answer><end>``, each on a line, after what the system says.

    To be learned are the tokens of the answers and the token that ends each of them. Prompt and answer are made into
    tokens apart from each other, as they are when a model is asked. A text longer than `max_length` loses the end of
    an answer, and what would follow; a prompt is never cut.

    Args:
        tokenizer: converts words to ids.
        max_length: tokens of the longest text.
        template: a Jinja template of the tokenizer; None takes the plain one.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int = 512, template: str | None = None) -> None:
        if max_length < 2:
            raise ValueError(f"max_length={max_length} must be at least 2")
        self.tokenizer, self.max_length, self.template = tokenizer, max_length, template

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, max_length: int = 512, template: Literal["own", "plain"] = "own"
    ) -> ChatTokenizer:
        """With the tokenizer's `own` template, where it has one, or the `plain` one."""
        has_own = template == "own" and isinstance(tokenizer, TransformersTokenizer)
        return cls(tokenizer, max_length, tokenizer.chat_template if has_own else None)  # type: ignore[attr-defined]

    def encode(self, turns: Sequence[Turn]) -> ChatTokens:
        """Return ids of a conversation that ends with an answer, up to the last of them that is learned.

        Raises:
            ValueError: if the template does not go with it, or no token of an answer would be left.
        """
        pieces = self._plain(turns) if self.template is None else self._by_template(turns, self.template)
        ids, learned = [], []
        for piece, is_learned in pieces:
            ids += piece
            learned += [is_learned] * len(piece)
        if True not in learned:
            raise ValueError("its answers have no token; write them in words")
        prompt = learned.index(True)
        if prompt >= self.max_length:
            raise ValueError(
                f"its first prompt has {prompt} tokens, which leaves none of max_text_tokens={self.max_length} for the "
                "answer; raise it"
            )
        end = _last(learned)
        kept = min(end, _last(learned[: self.max_length]))
        return ChatTokens(ids[:kept], learned[:kept], kept < end)

    def prompt(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Return the ids of turns that end with a question, up to where the answer begins, and the ids that end it.

        Raises:
            ValueError: if the template does not go with the turns.
        """
        answer = Turn("assistant", PROBE)
        ids, learned, _ = ChatTokenizer(self.tokenizer, LONGEST, self.template).encode([*turns, answer])
        begin = len(learned) - learned[::-1].index(False)
        return ids[:begin], ids[begin + len(self.tokenizer.encode_piece(PROBE)) :]

    def _plain(self, turns: Sequence[Turn]) -> Iterator[tuple[list[int], bool]]:
        """Ids piece by piece, and whether they are learned."""
        encode = self.tokenizer.encode_piece
        yield self.tokenizer.start_ids, False
        for turn in turns:
            if turn.speaker == "system":
                yield encode(f"{turn.text}\n"), False
            elif turn.speaker == "user":
                yield encode(f"USER: {turn.text}\nASSISTANT:\n"), False
            else:
                yield [*encode(turn.text), *self.tokenizer.end_ids], True

    def _by_template(self, turns: Sequence[Turn], template: str) -> Iterator[tuple[list[int], bool]]:
        tokenizer = self.tokenizer
        assert isinstance(tokenizer, TransformersTokenizer)
        messages = [{"role": turn.speaker, "content": turn.text} for turn in turns]
        done = ""
        for index, turn in enumerate(turns):
            if turn.speaker != "assistant":
                continue
            prompt = tokenizer.render(messages[:index], template, prompt=True)
            answered = tokenizer.render(messages[: index + 1], template, prompt=False)
            before, found, after = answered.removeprefix(prompt).partition(turn.text)
            if not (prompt.startswith(done) and answered.startswith(prompt) and found):
                raise ValueError(
                    f"the chat template of tokenizer {tokenizer.name_or_path!r} changes earlier turns, so prompt and "
                    "answer cannot be separated; set transform.template=plain"
                )
            yield tokenizer.encode_piece(prompt.removeprefix(done) + before), False
            yield tokenizer.encode_piece(turn.text), True
            rest = tokenizer.encode_piece(after)
            ends = [place for place, token in enumerate(rest, start=1) if token in tokenizer.added_ids]
            end = ends[0] if ends else len(rest)
            yield rest[:end], True
            yield rest[end:], False
            done = answered

    def assets(self) -> dict[str, bytes]:
        """Return the tokenizer's files."""
        return assets_of([self.tokenizer])

    def to_json(self) -> dict[str, Any]:
        """Return the tokenizer's config, the length and the template."""
        return {"tokenizer": self.tokenizer.to_json(), "max_length": self.max_length, "template": self.template}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ChatTokenizer:
        """Read what `to_json` wrote."""
        return cls(tokenizer_from_json(data["tokenizer"]), data["max_length"], data["template"])


def _last(learned: Sequence[bool]) -> int:
    """How many tokens there are up to the last one that is learned."""
    return max(place for place, is_learned in enumerate(learned, start=1) if is_learned)
