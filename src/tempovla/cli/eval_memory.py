"""`tempovla eval memory`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, build_parser, comma_separated, config_from_args, success_table
from tempovla.cli.eval_metaworld import add_dataset_argument, add_output_arguments, outputs_from_args
from tempovla.env.memory_tasks import MEMORY_TASKS
from tempovla.recipe.evaluation.memory import MemorySpans, evaluate_memory
from tempovla.rollout.evaluate import EvaluationConfig

EXAMPLES = """
tempovla eval memory --checkpoint checkpoints/vla --tasks colour-cue,hidden-goal --episodes 20
tempovla eval memory --checkpoint CKPT --tasks touch-sequence --delay_steps 30 --json outputs/memory/results.json
"""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--checkpoint DIR --tasks A,B [options]", EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="what training saved, or an exported file")
    parser.add_argument("--tasks", required=True, metavar="A,B", help=", ".join(MEMORY_TASKS))
    parser.add_class_arguments(MemorySpans)
    add_dataset_argument(parser)
    add_output_arguments(parser)
    parser.add_class_arguments(EvaluationConfig)
    return parser


def run(args: Namespace) -> Outcome:
    """Evaluate the checkpoint."""
    results = evaluate_memory(
        args.checkpoint,
        config_from_args(MemorySpans, args),
        config_from_args(EvaluationConfig, args),
        comma_separated(args.tasks),
        dataset_name=args.dataset_name,
        outputs=outputs_from_args(args),
    )
    return Outcome("\n".join(success_table(results)), results)
