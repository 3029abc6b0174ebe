"""The command that installs an extra fits how this package was installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from tempovla.storage import extras
from tempovla.storage.extras import install_command


def test_in_a_checkout_it_installs_the_checkout(monkeypatch, tmp_path):
    checkout = tmp_path / "my checkout"
    (checkout / "src").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text("")
    monkeypatch.setattr(extras, "SOURCE_FOLDER", checkout / "src")
    assert install_command("sim") == f"pip install -e '{checkout}[sim]'"


def test_this_checkout_is_found():
    assert install_command("viz") == f"pip install -e '{Path(__file__).resolve().parents[3]}[viz]'"


def test_elsewhere_it_names_the_packages_which_any_index_has(monkeypatch, tmp_path):
    listed = ["numpy>=2.0", "mujoco==3.3.0; extra == 'sim'", 'gymnasium>=1.1; extra == "sim"', 'peft; extra == "lora"']
    monkeypatch.setattr(extras, "SOURCE_FOLDER", tmp_path / "site-packages")
    monkeypatch.setattr(metadata, "requires", lambda name: listed)
    assert install_command("sim") == "pip install mujoco==3.3.0 'gymnasium>=1.1'"


def test_a_package_that_not_every_python_has_keeps_its_condition(monkeypatch, tmp_path):
    listed = ['dm-control<2; python_version < "3.13" and extra == "sim"', 'other; python_version < "3.13"']
    monkeypatch.setattr(extras, "SOURCE_FOLDER", tmp_path / "site-packages")
    monkeypatch.setattr(metadata, "requires", lambda name: listed)
    assert install_command("sim") == """pip install 'dm-control<2; python_version < "3.13"'"""


def test_without_metadata_it_names_the_extra(monkeypatch, tmp_path):
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "SOURCE_FOLDER", tmp_path / "site-packages")
    monkeypatch.setattr(metadata, "requires", absent)
    assert install_command("sim") == "pip install 'tempovla[sim]'"
