"""`tempovla ask`: questions about pictures, to a vision-language model that was taught."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_device, add_json_option
from tempovla.data.conversations import Question, read_questions
from tempovla.recipe.ask import ask
from tempovla.recipe.settings.parser import ArgumentParser, build_parser
from tempovla.transform.chat import Turn

EXAMPLES = """
tempovla ask --checkpoint outputs/instruct/checkpoint_latest --image table.png --question 'What is on the table?'
tempovla ask --checkpoint CKPT --questions questions.jsonl --image-root images --json answers.json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    usage = "--checkpoint DIR [--image FILE] --question TEXT [options]"
    parser = build_parser(name, summary, usage, EXAMPLES)
    about = "what `tempovla train instruct` or `align` saved"
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help=about)
    parser.add_argument("--image", metavar="FILE", help="picture that the question is about")
    parser.add_argument("--question", metavar="TEXT", help="the question")
    parser.add_argument(
        "--questions",
        metavar="FILE",
        help="JSON objects with question and image, one a line, or conversations, whose first question is asked",
    )
    parser.add_argument(
        "--image-root", metavar="DIR", help="folder of the images of --questions; by default the file's"
    )
    parser.add_argument("--max_tokens", type=int, default=64, help="most tokens of an answer")
    add_device(parser)
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Ask."""
    questions = _questions(args)
    answers = list(ask(args.checkpoint, questions, max_tokens=args.max_tokens, device=args.device))
    asked = [
        {"image": None if question.image is None else str(question.image), "question": question.text}
        for question in questions
    ]
    found = [entry | {"answer": answer} for entry, answer in zip(asked, answers, strict=True)]
    if args.questions is None:
        return Outcome(answers[0], {"checkpoint": args.checkpoint, "answers": found})
    lines = [f"{entry['image'] or 'no picture'}: {entry['question']} -> {entry['answer']}" for entry in found]
    return Outcome("\n".join(lines), {"checkpoint": args.checkpoint, "answers": found})


def _questions(args: Namespace) -> list[Question]:
    if args.questions is not None:
        if args.question is not None or args.image is not None:
            raise ValueError("--questions and --question exclude each other, and so do --questions and --image")
        return read_questions(args.questions, args.image_root)
    if args.question is None or not args.question.strip():
        raise ValueError("--question says nothing; write what is asked, or name a file of --questions")
    return [Question((Turn("user", args.question.strip()),), None if args.image is None else Path(args.image))]
