"""Counterfactual kinds in users' own task files: what each rule does, and what a wrong one says."""

from pathlib import Path

import pytest

from circuitkit.core.errors import TaskError
from circuitkit.tasks.loading import load_task, task_folder

STORY = """
version = 1
name = "story"
title = "Story"
citation = "none"
answers = { correct = " {x}", incorrect = " {y}" }
[[templates]]
name = "one"
text = "{x} met {y} in {year} and {x} saw {y}"
[[templates]]
name = "two"
text = "{y} met {x} in {year} and {x} saw {y}"
[slots]
x = { list = "names" }
y = { list = "names" }
year = { low = 7, high = 9, digits = 2 }
[lists]
names = ["Ann", "Bob", "Cid", "Dan"]
"""
LETTERS = """
version = 1
name = "letters"
title = "Letters"
citation = "none"
answers = { correct = " {d}", incorrect = " {c}" }
[[templates]]
name = "t"
text = "{a} {b} {c}"
[sequence]
list = "letters"
slots = ["a", "b", "c", "d"]
starts = [1, 2, 4]
[lists]
letters = ["A", "B", "C", "D", "E", "F", "G"]
"""


def task(tmp_path: Path, text: str, rule: str):
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}\n[counterfactuals.k]\n{rule}\n")
    return load_task(path)


def draws(found, n: int = 40) -> list[tuple[list[str], list[str]]]:
    """The words of clean prompts and of what the kind makes of them."""
    return [
        (pair.clean.split(), next(found.counterfactuals(i, "k")).text.split()) for i, pair in enumerate(found.pairs(n))
    ]


def test_one_mention_alone_is_drawn_anew(tmp_path: Path) -> None:
    for old, new in draws(task(tmp_path, STORY, 'kind = "redraw"\nslots = ["x"]\nmention = 2')):
        assert [i for i in range(9) if old[i] != new[i]] == [6]
        assert new[6] not in old


def test_numbers_are_drawn_within_their_bounds(tmp_path: Path) -> None:
    found = draws(task(tmp_path, STORY, 'kind = "redraw"\nslots = ["year"]'))
    for old, new in found:
        assert [i for i in range(9) if old[i] != new[i]] == [4]
    assert {(old[4], new[4]) for old, new in found} == {(a, b) for a in Y for b in Y if a != b}


Y = ("07", "08", "09")


def test_mentions_are_copied_from_the_clean_prompt(tmp_path: Path) -> None:
    """Both at once, so that two slots can change places."""
    rule = 'kind = "copy"\nchanges = [{ slot = "x", from = "y" }, { slot = "y", mention = 2, from = "x" }]'
    for old, new in draws(task(tmp_path, STORY, rule)):
        x, y = old[6], old[8]
        assert old[:4:2] in ([x, y], [y, x])
        assert new == [y, "met", y, *old[3:8], x]


def test_a_sequence_moves_to_another_start(tmp_path: Path) -> None:
    found = {(" ".join(old), " ".join(new)) for old, new in draws(task(tmp_path, LETTERS, 'kind = "shift"'), 60)}
    runs = ("A B C", "B C D", "D E F")
    assert found == {(a, b) for a in runs for b in runs if a != b}


def test_a_single_element_does_not_follow(tmp_path: Path) -> None:
    seen = set()
    for old, new in draws(task(tmp_path, LETTERS, 'kind = "random-elements"\nslots = ["b"]'), 200):
        assert (old[0], old[2]) == (new[0], new[2]) and new[1] != old[1]
        seen.add((old[0], new[1]))
    assert {word for first, word in seen if first == "A"} == {"A", "C", "D", "E", "F", "G"}
    first = {new[0] for old, new in draws(task(tmp_path, LETTERS, 'kind = "random-elements"\nslots = ["a"]'), 200)}
    assert first == set("ABCDEFG")


def test_kinds_keep_the_order_of_the_file_and_move_nothing_else(tmp_path: Path) -> None:
    plain = task(tmp_path, STORY, 'kind = "set"\nvalues = { year = "99" }')
    other = '[counterfactuals.zz]\nkind = "redraw"\nslots = ["y"]\n'
    more = task(tmp_path, STORY + other, 'kind = "set"\nvalues = { year = "99" }')
    assert more.kinds == ("zz", "k")
    assert plain.pairs(30) == more.pairs(30)
    assert draws(plain) == draws(more)
    assert plain.sha256 != more.sha256


@pytest.mark.parametrize(
    ("text", "rule", "wanted"),
    [
        (STORY, 'kind = "swap"', "counterfactuals.k: Input tag 'swap'"),
        (STORY, 'kind = "redraw"', "counterfactuals.k.redraw.slots: Field required"),
        (STORY, 'kind = "redraw"\nslots = ["z"]', "'k' redraws the list or number slot 'z', which is not defined"),
        (STORY, 'kind = "redraw"\nslots = ["x"]\nmention = 3', "changes mention 3 of slot 'x', which template 'one'"),
        (STORY, 'kind = "redraw"\nslots = ["x"]\nmention = 0', "greater than or equal to 1"),
        (STORY.replace("high = 9", "high = 7"), 'kind = "redraw"\nslots = ["year"]', "can hold one value only"),
        (STORY, 'kind = "copy"\nchanges = []', "counterfactuals.k.copy.changes"),
        (STORY, 'kind = "copy"\nchanges = [{ slot = "x", from = "x" }]', "copies slot 'x' to itself"),
        (STORY, 'kind = "copy"\nchanges = [{ slot = "x", from = "z" }]', "'k' copies the slot 'z', which is not"),
        (STORY, 'kind = "copy"\nchanges = [{ slot = "x", mention = 3, from = "y" }]', "mention 3 of slot 'x'"),
        (STORY, 'kind = "shift"', "is 'shift' and the task has no sequence"),
        (STORY, 'kind = "random-elements"\nslots = ["x"]', "is 'random-elements' and the task has no sequence"),
        (STORY, 'kind = "set"\nvalues = { z = "1" }', "sets the slot 'z', which is not defined"),
        (STORY, 'kind = "another-row"', "is 'another-row' and the task has no table"),
        (LETTERS.replace("1, 2, 4", "2, 2"), 'kind = "shift"', "which has one start only"),
        (LETTERS, 'kind = "set"\nvalues = { d = "X" }', "changes nothing in template 't'"),
    ],
)
def test_wrong_rules_are_one_line(tmp_path: Path, text: str, rule: str, wanted: str) -> None:
    with pytest.raises(TaskError) as error:
        task(tmp_path, text, rule)
    said = str(error.value)
    assert wanted in said and "\n" not in said and "mine.toml" in said


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ('kind = "shift"', "is 'shift' and the task has a table"),
        ('kind = "shuffle-words"\nslot = "answer"', "changes nothing in template 'question'"),
        ('kind = "words-of-another-row"\nslot = "problem"', "words: Field required"),
        ('kind = "another-row"\nsame = "colour"', "has no 'colour'"),
    ],
)
def test_wrong_rules_of_tables_are_one_line(tmp_path: Path, rule: str, wanted: str) -> None:
    (tmp_path / "simpleqa_facts.csv").write_bytes((task_folder() / "simpleqa_facts.csv").read_bytes())
    with pytest.raises(TaskError) as error:
        task(tmp_path, (task_folder() / "simpleqa.toml").read_text(), rule)
    assert wanted in str(error.value) and "\n" not in str(error.value)


def test_a_kind_is_called_by_a_plain_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(STORY + '\n[counterfactuals."a b"]\nkind = "set"\nvalues = { year = "99" }\n')
    with pytest.raises(TaskError, match="String should match pattern"):
        load_task(path)
