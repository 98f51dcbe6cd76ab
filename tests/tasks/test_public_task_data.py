"""Our tasks against the data that their papers released."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from circuitkit.tasks.loading import load_task, read_definition, task_folder

pytestmark = pytest.mark.public_data
SEQUENCES = ["numerals", "numwords", "months"]


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pattern(text: str) -> re.Pattern[str]:
    """A template as a regular expression with one group a mention; a repeated slot must repeat its word."""
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return rf"(?P={name})"
        seen.add(name)
        return rf"(?P<{name}>\w+)"

    return re.compile(re.sub(r"\\{(\w+)\\}", group, re.escape(text)))


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_released_prompt_is_one_of_ours(name: str, public_data: Path) -> None:
    definition = read_definition(task_folder() / f"{name}.toml")
    templates = {template.name: pattern(template.text) for template in definition.templates}
    elements = definition.lists["elements"]
    released = rows(public_data / "seqcont" / f"{name}_clean.jsonl")
    assert len(released) == 3072
    words: dict[str, set[str]] = {"noun": set(), "name": set()}
    for row in released:
        found = templates[row["template"]].fullmatch(row["text"])
        assert found is not None, row["text"]
        assert [found[f"n{i}"] for i in range(1, 5)] == [row[f"S{i}"] for i in range(1, 5)]
        start = elements.index(row["S1"])
        assert start + 1 in definition.sequence.starts
        assert row["corr"] == " " + elements[start + 4]
        assert row["incorr"] == " " + elements[start + 3]
        for slot, word in found.groupdict().items():
            if slot[:-1] in words:
                words[slot[:-1]].add(word)
    assert words["noun"] == set(definition.lists["nouns"])
    assert words["name"] - {"April"} == set(definition.lists["names"]) - {"April"}


@pytest.mark.parametrize("name", SEQUENCES)
def test_released_files_load_as_tasks(name: str, public_data: Path) -> None:
    released = rows(public_data / "seqcont" / f"{name}_clean.jsonl")
    partners = rows(public_data / "seqcont" / f"{name}_corrupted.jsonl")
    task = load_task(public_data / "seqcont" / f"{name}_clean.jsonl")
    pairs = task.pairs(9999)
    assert len(pairs) == 3072
    by_text = {row["text"]: row for row in released}
    named = {row["clean_id"]: row for row in partners}
    texts = {row["text"]: row for row in partners}
    uses: Counter[str] = Counter()
    for pair in pairs:
        row = by_text[pair.clean]
        assert (pair.correct, pair.incorrect, pair.template) == (row["corr"], row["incorr"], row["template"])
        assert [pair.clean[slice(*pair.labels[f"n{i}"])] for i in range(1, 5)] == [row[f"S{i}"] for i in range(1, 5)]
        assert pair.corrupted is not None
        assert texts[pair.corrupted]["template"] == row["template"]
        if row["id"] in named:
            assert pair.corrupted == named[row["id"]]["text"]
        got = [pair.corrupted[slice(*pair.corrupted_labels[f"n{i}"])] for i in range(1, 5)]
        assert got == texts[pair.corrupted]["text_seq"]
        uses[pair.corrupted] += 1
    assert set(uses.values()) == {2}


@pytest.mark.parametrize("name", SEQUENCES)
def test_released_corrupted_files_load_too(name: str, public_data: Path) -> None:
    task = load_task(public_data / "seqcont" / f"{name}_corrupted.jsonl")
    assert len(task.pairs(9999)) == 1536


def test_ioi_lists_are_those_released(public_data: Path) -> None:
    released = json.loads((public_data / "ioi" / "ioi_lists.json").read_text())
    definition = read_definition(task_folder() / "ioi.toml")
    for key in ("names", "places", "objects"):
        assert list(definition.lists[key]) == released[key]
    slots = {"{io}": "[A]", "{s}": "[B]", "{place}": "[PLACE]", "{object}": "[OBJECT]"}
    ours = [template.text for template in definition.templates]
    for slot, theirs in slots.items():
        ours = [text.replace(slot, theirs) for text in ours]
    assert [text + " [A]" for text in ours] == released["abba_templates"] + released["baba_templates"]


def test_the_notebooks_prompts_are_among_ours(public_data: Path) -> None:
    definition = read_definition(task_folder() / "ioi.toml")
    templates = {template.name: pattern(template.text) for template in definition.templates}
    released = rows(public_data / "ioi" / "ioi_seed42_100.jsonl")
    assert len(released) == 100
    for row in released:
        found = templates[f"{row['order'].lower()}-{row['template']}"].fullmatch(row["prompt"])
        assert found is not None, row["prompt"]
        assert (found["io"], found["s"]) == (row["io"], row["s"])
        for slot, words in found.groupdict().items():
            assert words in definition.lists[{"io": "names", "s": "names"}.get(slot, f"{slot}s")]


def test_simpleqa_itself_loads(public_data: Path) -> None:
    task = load_task("simpleqa", data=public_data / "simpleqa" / "simple_qa_test_set.csv")
    assert task.source.size == 4326
    pairs = task.pairs(60)
    assert len({pair.clean for pair in pairs}) == 60
    assert all(pair.corrupted not in (None, pair.clean) and pair.correct != pair.incorrect for pair in pairs)
