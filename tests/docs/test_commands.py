"""Command lines in the docs and in the help parse, and links lead somewhere."""

from __future__ import annotations

import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from tempovla.cli.main import commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def command_lines(text: str) -> list[str]:
    """Calls of a subcommand of `tempovla`, with their continuation lines joined."""
    joined = text.replace("\\\n", " ").splitlines()
    calls = [re.search(r"(?:^|--no-python |-m )tempovla(?:\.cli)? (\w.*)", line) for line in joined]
    return [f"tempovla {call[1].strip()}" for call in calls if call]


@cache
def documented() -> list[str]:
    pages = [line for page in PAGES for fence in FENCE.findall(page.read_text()) for line in command_lines(fence)]
    parsers = [importlib.import_module(module).build(name, "") for name, (module, _) in commands().items()]
    examples = [command_lines(parser.epilog) for parser in parsers]
    return sorted({*pages, *(line for lines in examples for line in lines)})


@pytest.fixture
def written_configs(tmp_path, monkeypatch) -> None:
    """A folder with our configs and, empty, those that `tempovla init` writes on our pages."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for line in documented():
        written = re.search(r"^tempovla init [^&]*--out (\S+)", line)
        if written:
            (tmp_path / written[1]).write_text("{}")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("written_configs")
@pytest.mark.parametrize("line", documented())
def test_command_lines_parse(line, capsys):
    words = shlex.split(re.sub(r"\s+>.*$", "", line), comments=True)[1:]
    name = next(name for name in commands() if words[: len(name.split())] == name.split())
    arguments = words[len(name.split()) :]
    parser = importlib.import_module(commands()[name][0]).build(name, commands()[name][1])
    if "--print_config" in arguments:
        with pytest.raises(SystemExit, match="0"):
            parser.parse_args(arguments)
        assert "model:" in capsys.readouterr().out
    else:
        parser.instantiate(parser.parse_args(arguments))


def test_every_command_is_documented():
    pages = " ".join(page.read_text() for page in PAGES)
    assert [name for name in commands() if f"tempovla {name}" not in pages and name != "demo"] == []
    assert "make demo" in pages


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
