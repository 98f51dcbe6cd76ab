"""The tests are started in one way: what the README says, `make test` does, and so does the gate."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_readme_and_make_start_the_tests_alike():
    by_hand = re.search(r"^\.venv/bin/pip install .*'\.\[dev\]' && \.venv/bin/(.+)$", _text("README.md"), re.MULTILINE)
    by_make = re.search(r"^test:.*\n\t\$\(BIN\)/(.+)$", _text("Makefile"), re.MULTILINE)
    assert by_hand and by_make
    assert by_hand[1] == by_make[1] == "python -m pytest -n 2 --dist loadfile"


def test_the_gate_runs_the_readmes_commands():
    gate, readme = _text(".ci/run"), _text("README.md")
    for command in ("make demo", "make test", "make check"):
        assert re.search(rf"^(\w+=\S+ )?{command}\b", gate, re.MULTILINE)
        assert command in readme
    assert "pytest " not in gate


def test_what_the_tests_need_is_pinned():
    pinned = {line.split("==")[0] for line in _text("constraints.txt").splitlines() if "==" in line}
    extras = tomllib.loads(_text("pyproject.toml"))["project"]["optional-dependencies"]
    needed = {re.split(r"[><=\[]", name)[0] for group in extras.values() for name in group}
    assert "pytest-xdist" in needed
    assert needed - pinned <= {"circuitkit-distill", "jupyterlab"}  # itself, and what only readers of notebooks want


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
