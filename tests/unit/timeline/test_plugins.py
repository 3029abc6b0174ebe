"""Which plugins are imported, and which are refused."""

from __future__ import annotations

import sys

import pytest

from tempovla.timeline import plugins
from tempovla.timeline.plugins import plugins_in_use, require_plugins, use_plugin


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module that Python finds, and nobody has imported."""
    (tmp_path / "arm_of_mine.py").write_text("LOADED = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_in_use", {})
    yield "arm_of_mine"
    sys.modules.pop("arm_of_mine", None)


def test_a_plugin_that_the_user_names_is_imported_and_remembered(plugin):
    use_plugin(plugin)
    assert sys.modules[plugin].LOADED
    assert plugins_in_use() == (plugin,)
    require_plugins([plugin], "a file")


def test_one_that_a_file_names_is_refused_without_being_imported(plugin):
    message = "run/bundle.json: needs the plugin 'arm_of_mine', .* give --plugin arm_of_mine "
    with pytest.raises(ValueError, match=message):
        require_plugins([plugin], "run/bundle.json")
    assert plugin not in sys.modules
    assert plugins_in_use() == ()


def test_the_environment_and_installed_packages_are_trusted(plugin, monkeypatch):
    monkeypatch.setenv("TEMPOVLA_PLUGINS", f"other, {plugin}")
    require_plugins([plugin], "a file")
    assert plugins_in_use() == (plugin,)


def test_an_installed_package_declares_its_plugins(plugin, tmp_path):
    info = tmp_path / "arm_of_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: arm-of-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tempovla.plugins]\narm = {plugin}\n")
    require_plugins([plugin], "a file")
    assert plugins_in_use() == (plugin,)


def test_a_trusted_plugin_that_is_not_there_is_named_with_the_file(monkeypatch):
    monkeypatch.setenv("TEMPOVLA_PLUGINS", "gone_away")
    with pytest.raises(ValueError, match="a file: needs the plugin gone_away: No module named 'gone_away'; install it"):
        require_plugins(["gone_away"], "a file")
    with pytest.raises(ValueError, match=r"plugin '\.\./evil' is no name of a module"):
        use_plugin("../evil")


def test_a_file_gives_no_trust_to_a_module_that_is_loaded_anyway(plugin):
    require_plugins(["json", "os"], "run/bundle.json")
    assert plugins_in_use() == ()


@pytest.mark.parametrize("name", ["", "../x", "3", "a..b"])
def test_what_is_no_name_is_told_so_with_the_file(name):
    with pytest.raises(ValueError, match=r"a file: needs the plugin .* is no name of a module"):
        require_plugins([name], "a file")


@pytest.mark.parametrize(
    ("code", "told"), [("x = (", "SyntaxError: "), ("1 / 0", "ZeroDivisionError: division by zero")]
)
def test_a_plugin_that_fails_is_named_with_its_own_words(plugin, tmp_path, code, told):
    (tmp_path / "arm_of_mine.py").write_text(code)
    with pytest.raises(ValueError, match=f"plugin arm_of_mine: fails as it is imported .{told}"):
        use_plugin(plugin)
