"""Lines of progress for logs: rare, of the current stage, with the time that is left."""

from circuitkit.cli.plain_progress import PlainProgress


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _lines(steps: list[tuple[float, str, int, int]]) -> list[str]:
    said: list[str] = []
    clock = _Clock()
    progress = PlainProgress(say=said.append, clock=clock)
    for now, stage, done, total in steps:
        clock.now = now
        progress(stage, done, total)
    return said


def test_work_of_less_than_a_minute_says_nothing() -> None:
    assert _lines([(t, "sweep", t, 60) for t in range(60)]) == []


def test_one_line_a_minute_with_what_is_left_at_the_stage_s_own_pace() -> None:
    steps = [(10.0 * i, "sweep", i, 100) for i in range(14)]  # one unit in ten seconds
    assert _lines(steps) == ["sweep: 6 of 100, about 16 min left", "sweep: 12 of 100, about 15 min left"]


def test_a_stage_that_begins_late_or_anew_is_timed_from_there() -> None:
    late = [(0.0, "load", 1, 1), (100.0, "sweep", 50, 100), (200.0, "sweep", 75, 100)]
    assert _lines(late) == ["sweep: 50 of 100", "sweep: 75 of 100, about 2 min left"]
    anew = [(0.0, "sweep", 0, 10), (50.0, "sweep", 10, 10), (60.0, "sweep", 0, 10), (120.0, "sweep", 5, 10)]
    assert _lines(anew) == ["sweep: 0 of 10", "sweep: 5 of 10, about 60 s left"]
