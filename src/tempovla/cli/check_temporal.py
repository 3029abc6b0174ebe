"""`tempovla check temporal`."""

from __future__ import annotations

from jsonargparse import Namespace

from tempovla.cli.command import Outcome, add_json_option
from tempovla.recipe.checks.temporal import CONFIG_OPTION, TemporalCheckConfig, check_temporal
from tempovla.recipe.settings.parser import ArgumentParser, build_parser

EXAMPLES = """
tempovla check temporal --config-yaml sagr_libero --data-mix libero_all_whole_chunk
tempovla check temporal --config-yaml sagr_libero --data-mix libero_all_whole_chunk --check-runtime --data-root-dir ROOT
tempovla check temporal --config-yaml sagr_metaworld --dataset outputs/data --check-runtime
tempovla check temporal --config-yaml my.yaml --data-mix my_tasks --mixtures my_mixtures.yaml --json
"""
FAILED = 1
"""Exit code if something fails that must hold."""


def build(name: str, summary: str) -> ArgumentParser:
    """Return the parser."""
    parser = build_parser(
        name, summary, f"{CONFIG_OPTION} FILE [--data-mix NAME] [--check-runtime] [options]", EXAMPLES
    )
    parser.add_argument(
        CONFIG_OPTION, required=True, metavar="FILE", help="config of a training, or the name of a packaged one"
    )
    parser.add_argument(
        "--data-mix", metavar="NAME", help="mixture of datasets; without it, the config's data.data_mix"
    )
    parser.add_argument("--check-runtime", action="store_true", help="also look at real samples of every dataset")
    parser.add_argument(
        "--data-root-dir", metavar="DIR", help="folder of all datasets; without it, the config's data.data_root_dir"
    )
    parser.add_argument("--dataset", metavar="ROOT", help="a dataset that is trained on alone, instead of a mixture")
    parser.add_argument("--mixtures", metavar="FILE", help="YAML file with mixtures and types of robots of your own")
    parser.add_argument(
        "--max-trajectories", type=int, default=8, metavar="N", help="episodes of each dataset that are looked at"
    )
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="determines which episodes these are")
    parser.add_argument(
        "--future-action-window-size",
        type=int,
        metavar="N",
        help="actions behind the first one, instead of the config's",
    )
    add_json_option(parser)
    return parser


def run(name: str, args: Namespace) -> Outcome:
    """Check the config, the mixture and, on request, its data."""
    config = TemporalCheckConfig(args.check_runtime, args.max_trajectories, args.seed, args.future_action_window_size)
    findings = check_temporal(
        args.config_yaml,
        args.data_mix,
        config,
        data_root_dir=args.data_root_dir,
        mixtures=args.mixtures,
        dataset=args.dataset,
    )
    return Outcome("\n".join(findings.lines), findings.to_json(), exit_code=0 if findings.passed else FAILED)
