"""Bars of long runs: what runs now is on the screen."""

import io

import pytest
from rich.console import Console

from circuitkit.cli import console


@pytest.fixture
def screen(monkeypatch):
    shown = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None)
    monkeypatch.setattr(console, "stderr", lambda: shown)
    return shown.file


def test_the_current_stage_is_shown_however_many_came_before(screen):
    with console.progress_bars() as advance:
        for stage in range(40):
            advance(f"stage {stage}", 1, 2)
            advance(f"stage {stage}", 2, 2)
        advance("now", 1, 4)
        screen.truncate(screen.seek(0))
    frame = screen.getvalue()
    assert "now" in frame and "1/4" in frame and "stage 39" in frame
    assert "stage 0 " not in frame and "..." not in frame
    finished = next(line for line in frame.splitlines() if "stage 39" in line)
    assert "took" in finished and "left" not in finished


def test_a_stage_that_begins_anew_stands_last(screen):
    with console.progress_bars() as advance:
        advance("reading", 5, 5)
        advance("running", 5, 5)
        advance("reading", 1, 5)
        screen.truncate(screen.seek(0))
    frame = screen.getvalue()
    assert frame.count("reading") == 1
    assert frame.index("running") < frame.index("reading")
    assert "1/5" in frame
