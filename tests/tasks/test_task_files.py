"""The tasks that ship: their prompts are what their papers say, and the draws obey their laws."""

import csv
import io
import re
from ast import literal_eval
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.core.errors import TaskError
from circuitkit.tasks.loading import available_tasks, load_task, read_definition, task_folder
from circuitkit.tasks.prompt import PromptPair

NAMES = ["greater-than", "ioi", "months", "numerals", "numwords", "simpleqa"]
SEQUENCES = ["numerals", "numwords", "months"]


def text_at(pair: PromptPair, label: str) -> str:
    return pair.clean[slice(*pair.labels[label])]


def corrupted_at(pair: PromptPair, label: str) -> str:
    assert pair.corrupted is not None
    return pair.corrupted[slice(*pair.corrupted_labels[label])]


def test_all_six_are_there() -> None:
    assert available_tasks() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_task_names_its_paper_and_the_licence_of_its_words(name: str) -> None:
    definition = read_definition(task_folder() / f"{name}.toml")
    assert definition.name == name
    assert "arXiv:" in definition.citation
    assert definition.sources and all("MIT" in source.licence for source in definition.sources)
    assert (task_folder() / f"{name}.toml").read_text().startswith("# ")


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), more=st.integers(0, 40))
@settings(max_examples=15, deadline=None)
def test_fewer_prompts_are_the_beginning_of_more(name: str, seed: int, n: int, more: int) -> None:
    task = load_task(name)
    assert task.pairs(n, seed=seed) == task.pairs(n + more, seed=seed)[:n]


@pytest.mark.parametrize("name", NAMES)
def test_seeds_give_other_prompts_and_the_same_seed_the_same(name: str) -> None:
    first, again, other = (load_task(name).pairs(20, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert [pair.clean for pair in first] != [pair.clean for pair in other]


@pytest.mark.parametrize("name", NAMES)
def test_what_fits_changes_only_the_corrupted_side(name: str) -> None:
    """Two models whose tokenizers accept different corrupted prompts still see the same clean ones."""
    task = load_task(name)
    picky = task.pairs(40, fits=lambda pair: len(pair.corrupted or "") % 3 == 0)
    easy = task.pairs(40)

    def clean_side(pair: PromptPair) -> tuple[object, ...]:
        return pair.clean, pair.correct, pair.incorrect, pair.labels, pair.template

    assert [clean_side(pair) for pair in picky] == [clean_side(pair) for pair in easy]
    if name != "greater-than":  # whose corrupted prompt is a fixed one
        assert sum(len(pair.corrupted or "") % 3 == 0 for pair in picky) == 40


@pytest.mark.parametrize("name", NAMES)
def test_pairs_hold_together(name: str) -> None:
    for pair in load_task(name).pairs(300, seed=3):
        assert pair.corrupted is not None
        assert pair.corrupted != pair.clean
        assert pair.correct != pair.incorrect
        assert set(pair.labels) == set(pair.corrupted_labels)
        assert text_at(pair, "END") == pair.clean.split()[-1]
        assert corrupted_at(pair, "END") == pair.corrupted.split()[-1]


@pytest.mark.parametrize("name", NAMES)
def test_templates_take_turns(name: str) -> None:
    definition = read_definition(task_folder() / f"{name}.toml")
    counts = Counter(pair.template for pair in load_task(name).pairs(90, seed=5))
    assert set(counts) == {template.name for template in definition.templates}
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_go_on_and_their_corruption_does_not(name: str) -> None:
    elements = read_definition(task_folder() / f"{name}.toml").lists["elements"]
    starts, answers, shown = set(), set(), set()
    for pair in load_task(name).pairs(600):
        places = [elements.index(text_at(pair, f"n{i}")) for i in range(1, 5)]
        assert places == list(range(places[0], places[0] + 4))
        assert pair.correct == " " + elements[places[3] + 1]
        assert pair.incorrect == " " + elements[places[3]]
        random = [elements.index(corrupted_at(pair, f"n{i}")) for i in range(1, 5)]
        assert random[3] != random[2] + 1
        nouns = [re.findall(r"(\w+) (?:done|lost|born) in", text) for text in (pair.clean, pair.corrupted)]
        assert nouns[0] == nouns[1]
        assert len(set(nouns[0])) == 5
        starts.add(places[0] + 1)
        answers.add(places[3] + 2)
        shown.update(random)
    assert starts == set(range(1, 9))
    assert answers == set(range(5, 13))
    assert shown == set(range(12))


def test_april_is_no_name_beside_the_months() -> None:
    lists = {name: read_definition(task_folder() / f"{name}.toml").lists for name in SEQUENCES}
    assert set(lists["numerals"]["names"]) - set(lists["months"]["names"]) == {"April"}
    assert len(lists["numerals"]["nouns"]) == 73
    assert len(lists["numerals"]["names"]) == 100


def test_ioi_says_who_gives_to_whom() -> None:
    definition = read_definition(task_folder() / "ioi.toml")
    assert [len(definition.lists[key]) for key in ("names", "places", "objects")] == [99, 8, 8]
    assert Counter(template.name.split("-")[0] for template in definition.templates) == {"abba": 15, "baba": 15}
    for pair in load_task("ioi").pairs(300):
        assert pair.correct == " " + text_at(pair, "IO")
        assert pair.incorrect == " " + text_at(pair, "S1") == " " + text_at(pair, "S2")
        first = "IO" if pair.template.startswith("abba") else "S1"
        assert min(("IO", "S1"), key=lambda label: pair.labels[label]) == first
        strangers = {corrupted_at(pair, label) for label in ("IO", "S1", "S2")}
        assert len(strangers) == 3
        assert not strangers & {pair.correct.strip(), pair.incorrect.strip()}
        assert strangers <= set(definition.lists["names"])
        clean, corrupted = pair.clean, pair.corrupted or ""
        for name in definition.lists["names"]:
            clean, corrupted = (re.sub(rf"\b{name}\b", "X", text) for text in (clean, corrupted))
        assert clean == corrupted


def test_greater_than_answers_lie_on_both_sides_of_the_first_year() -> None:
    for pair in load_task("greater-than").pairs(300):
        century, year = text_at(pair, "XX"), text_at(pair, "YY")
        assert pair.clean.endswith(f"from the year {century}{year} to the year {century}")
        assert 11 <= int(century) <= 17
        assert int(pair.incorrect) <= int(year) < int(pair.correct) <= 99
        assert len(pair.correct) == len(pair.incorrect) == 2
        assert corrupted_at(pair, "YY") == "01"
        assert corrupted_at(pair, "XX") == century


def facts() -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO((task_folder() / "simpleqa_facts.csv").read_text()))
    return [{**literal_eval(row["metadata"]), **row} for row in rows]


def test_facts_are_spread_over_topics_and_types() -> None:
    rows = facts()
    assert len(rows) == 96
    assert min(Counter(row["topic"] for row in rows).values()) >= 6
    kinds = Counter(row["answer_type"] for row in rows)
    assert set(kinds) == {"Person", "Place", "Date", "Number", "Other"}
    assert min(kinds.values()) >= 6
    for kind in kinds:
        answers = [row["answer"] for row in rows if row["answer_type"] == kind]
        assert len(set(answers)) >= 0.9 * len(answers)


def test_simpleqa_draws_within_type_and_topic() -> None:
    by_problem = {row["problem"]: row for row in facts()}
    kind_of: dict[str, set[str]] = {}
    for row in by_problem.values():
        kind_of.setdefault(row["answer"], set()).add(row["answer_type"])
    task = load_task("simpleqa")
    assert not task.positional
    pairs = task.pairs(1000)
    assert len(pairs) == len({pair.clean for pair in pairs}) == 96
    for pair in pairs:
        row, other = by_problem[text_at(pair, "Q")], by_problem[corrupted_at(pair, "Q")]
        assert pair.clean == f"Question: {row['problem']}\nAnswer:"
        assert pair.correct == " " + row["answer"]
        assert row["answer_type"] in kind_of[pair.incorrect.strip()]
        assert row["topic"] == other["topic"]
        assert other["answer"] != row["answer"]


def test_unknown_name_lists_what_there_is_and_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"'numeral'; there are greater-than, ioi, .*\. Did you mean numerals\?"):
        load_task("numeral")


def test_hash_is_of_the_definition_and_its_data(tmp_path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_bytes((task_folder() / "simpleqa.toml").read_bytes())
    data = (task_folder() / "simpleqa_facts.csv").read_bytes()
    (tmp_path / "simpleqa_facts.csv").write_bytes(data)
    assert load_task(mine).sha256 == load_task("simpleqa").sha256
    (tmp_path / "other.csv").write_bytes(data.rsplit(b"\n", 2)[0] + b"\n")
    assert load_task(mine, data=tmp_path / "other.csv").sha256 != load_task("simpleqa").sha256
    assert len(load_task(mine, data=tmp_path / "other.csv").pairs(200)) == 95
    mine.write_bytes(mine.read_bytes() + b"# a comment\n")
    assert load_task(mine).sha256 != load_task("simpleqa").sha256


@pytest.mark.parametrize("name", ["ioi", "some.jsonl"])
def test_data_goes_only_with_a_table(name: str) -> None:
    with pytest.raises(TaskError, match="leave out --data"):
        load_task(name, data="facts.csv")


def test_no_prompts_are_too_few() -> None:
    with pytest.raises(TaskError, match="at least 1"):
        load_task("ioi").pairs(0)
