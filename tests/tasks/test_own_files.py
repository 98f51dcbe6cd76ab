"""Users' own task files and prompts: what is accepted, and what each kind of bad input says."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.core.errors import TaskError
from circuitkit.tasks.loading import load_task, task_folder
from circuitkit.tasks.prompt import UNNAMED
from circuitkit.tasks.rows import read_objects, read_pairs
from circuitkit.tasks.template import parse_template

GOOD = {"clean": "Then Mary went to", "corrupted": "Then John ran to", "correct": " school", "incorrect": " work"}
SEQUENCE = """
version = 1
name = "letters"
title = "Letters"
citation = "none"
[[templates]]
name = "t"
text = "{a} {b} {c}"
[sequence]
list = "letters"
slots = ["a", "b", "c", "d"]
starts = [1, 2]
[answers]
correct = " {d}"
incorrect = " {c}"
[labels]
last = { slot = "c" }
[corruption]
kind = "random-elements"
slots = ["a", "b", "c"]
[lists]
letters = ["A", "B", "C", "D", "E"]
"""


def one_line(error: pytest.ExceptionInfo[TaskError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def write(path, *rows: object):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_written_prompts(tmp_path, monkeypatch) -> None:
    other = {**GOOD, "clean": "Then Lisa went to", "template": "x", "labels": {"WHO": [5, 9]}}
    path = write(tmp_path / "mine.jsonl", GOOD, "", other)
    task = load_task(path)
    assert (task.name, task.positional, len(task.pairs(384))) == ("mine", True, 2)
    by_clean = {pair.clean: pair for pair in task.pairs(2)}
    first, second = by_clean["Then Mary went to"], by_clean["Then Lisa went to"]
    assert first.labels == {"END": (15, 17)}
    assert first.corrupted_labels == {"END": (14, 16)}
    assert (first.corrupted, first.template) == ("Then John ran to", UNNAMED)
    assert (second.labels["WHO"], second.template) == ((5, 9), "x")
    monkeypatch.chdir(tmp_path)
    assert load_task("mine.jsonl").pairs(2) == task.pairs(2)
    assert load_task(str(path)).sha256 == task.sha256


def test_rows_keep_the_order_of_the_file(tmp_path) -> None:
    rows = [{**GOOD, "clean": f"Then {i} went to"} for i in range(50)]
    task = load_task(write(tmp_path / "mine.jsonl", *rows))
    file_order = [row["clean"] for row in rows]
    assert [pair.clean for pair in task.pairs(50)] == [pair.clean for pair in task.pairs(99, seed=1)] == file_order
    some = [[pair.clean for pair in task.pairs(n, seed=seed)] for n, seed in ((10, 0), (20, 0), (10, 1))]
    assert all(part == [clean for clean in file_order if clean in part] for part in some)
    assert set(some[0]) < set(some[1])
    assert some[0] not in (some[2], file_order[:10])


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({}, "line 2 has no 'clean'"),
        ({**GOOD, "answer": "x"}, "line 2 has the field 'answer'"),
        ({**GOOD, "correct": 5}, "line 2: 'correct' is 5; wanted a string"),
        ({**GOOD, "corrupted": ["x"]}, "line 2: 'corrupted' is"),
        ({**GOOD, "template": None}, "line 2: 'template' is null"),
        ({**GOOD, "clean": " \n"}, "line 2: 'clean' is empty"),
        ({**GOOD, "incorrect": ""}, "line 2: 'incorrect' is empty"),
        ({**GOOD, "incorrect": " school"}, "line 2: 'correct' and 'incorrect' are both ' school'"),
        ({**GOOD, "corrupted": GOOD["clean"]}, "line 2: 'corrupted' is the same as 'clean'"),
        (GOOD, "line 2 repeats the prompt and answers of .*line 1"),
        ({**GOOD, "labels": [1]}, "line 2: 'labels' is no object"),
        ({**GOOD, "labels": {"A": [3, 99]}}, r"line 2: label 'A' is \[3, 99\]"),
        ({**GOOD, "labels": {"A": [4, 5]}}, "around some text"),
        ({**GOOD, "labels": {"A": "Mary"}}, "line 2: label 'A'"),
        ({**GOOD, "clean": "\ud800"}, "surrogate"),
        ([1, 2], "line 2 is a JSON list"),
        ("clean,corrupted", "line 2 is not JSON"),
        ('{"clean": ', "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_bad_rows_name_their_line(tmp_path, row: object, wanted: str) -> None:
    path = write(tmp_path / "mine.jsonl", GOOD, row)
    with pytest.raises(TaskError, match=wanted) as error:
        load_task(path)
    assert str(path) in one_line(error)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "has no rows"),
        (b"\n \n", "has no rows"),
        (b"\x80\x02}q\x00.", "not a text file"),
        (b"\x00" * 9, "not JSON"),
    ],
)
def test_bad_files_of_prompts(tmp_path, content: bytes, wanted: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=wanted) as error:
        load_task(path)
    one_line(error)


@pytest.mark.parametrize("name", ["no.jsonl", "no.toml", "folder.toml", "folder.jsonl"])
def test_missing_files_and_folders(tmp_path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(TaskError, match=r"no file|is a folder") as error:
        load_task(tmp_path / name)
    one_line(error)


@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        read_pairs(read_objects(content, name="mine.jsonl"))
    except TaskError as error:
        assert "\n" not in str(error)


@given(
    rows=st.lists(
        st.fixed_dictionaries({key: st.text(st.characters(codec="utf-8"), min_size=1) for key in GOOD}),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_what_is_read(rows: list[dict[str, str]]) -> None:
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    try:
        pairs = read_pairs(read_objects(content, name="mine.jsonl"))
    except TaskError as error:
        assert any(word in str(error) for word in ("empty", "both", "same", "repeats"))
        return
    assert [(p.clean, p.corrupted, p.correct, p.incorrect) for p in pairs] == [
        tuple(row[key] for key in GOOD) for row in rows
    ]


def test_own_task_file(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SEQUENCE)
    for pair in load_task(path).pairs(40):
        assert (pair.clean, pair.correct, pair.incorrect) in {("A B C", " D", " C"), ("B C D", " E", " D")}
        assert pair.labels == {"last": (4, 5), "END": (4, 5)}
        letters = (pair.corrupted or "").split()
        assert ord(letters[2]) != ord(letters[1]) + 1


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("version = 1", "version = 2", "version: Input should be 1"),
        ("version = 1", "", "version: Field required"),
        ("version = 1", "version = 1\nmetrics = 3", "metrics: Extra inputs"),
        ('name = "letters"', 'name = "a b"', "name: String should match"),
        ('"{a} {b} {c}"', '"{a} {b} {c"', "cannot be read"),
        ('"{a} {b} {c}"', '"{a} {b} {c:3}"', "plain slot name"),
        ('"{a} {b} {c}"', '"{a} {b} {c} {e}"', "uses the slot 'e', which is not defined"),
        ('" {d}"', '" {f}"', "uses the slot 'f'"),
        ('" {d}"', '" {c}"', "answers.correct and answers.incorrect are both"),
        ("starts = [1, 2]", "starts = [1, 3]", "The sequence starts at 3; 4 slots and a list of 5 allow 1 to 2"),
        ('list = "letters"', 'list = "words"', "uses the list 'words'"),
        ('{ slot = "c" }', '{ slot = "c", mention = 2 }', "Label 'last' is mention 2 of slot 'c'"),
        ("last = {", "END = {", "A label is called 'END'"),
        ('kind = "random-elements"', 'kind = "shuffle"', "corruption: Input tag 'shuffle'"),
        ('slots = ["a", "b", "c"]', 'slots = ["a", "z"]', "changes the sequence slot 'z'"),
        (
            'slots = ["a", "b", "c"]',
            'slots = ["a", "d"]\n[slots]\nz = { low = 1 }',
            "slots.z.number.high: Field required",
        ),
        ('slots = ["a", "b", "c"]', 'slots = ["a", "d"]\n[slots]\nz = { low = 2, high = 1 }', "runs from 2 to 1"),
        ('slots = ["a", "b", "c"]', 'slots = ["a", "d"]\n[slots]\nz = { list = "x" }', "Slot 'z' uses the list 'x'"),
        ('slots = ["a", "b", "c"]', 'slots = ["a", "d"]\n[slots]\na = { list = "letters" }', "delete one"),
        ('"D", "E"]', '"D", "D"]', "hold 'D' twice"),
        ('"D", "E"]', '"D", 5]', "lists.letters.4"),
        ('"A", "B", "C", "D", "E"', "", "lists.letters"),
        ("[answers]", "[answers", "is not TOML"),
        ('kind = "random-elements"\nslots = ["a", "b", "c"]', 'kind = "another-row"', "and the task has no table"),
        ('kind = "random-elements"\nslots = ["a", "b", "c"]', 'kind = "set"\nvalues = { d = "X" }', "changes nothing"),
        ('kind = "random-elements"', 'kind = "redraw"', "redraws the list or number slot 'a'"),
    ],
)
def test_bad_task_files_say_what_is_wrong(tmp_path, old: str, new: str, wanted: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in SEQUENCE
    path.write_text(SEQUENCE.replace(old, new))
    with pytest.raises(TaskError) as error:
        load_task(path)
    text = one_line(error)
    assert wanted in text
    assert str(path) in text


def test_a_task_file_that_is_no_text(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="not a text file"):
        load_task(path)


HEADER = "metadata,problem,answer\n"
META = "\"{'topic': 'Art', 'answer_type': 'Person', 'urls': []}\""


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (HEADER, "has 0 rows"),
        (HEADER + f"{META},Who?,Rodin\n", "has 1 rows"),
        (HEADER + f"{META},Who?,Rodin\n{META},Which?,Rodin\n", "all rows with answer_type = 'Person' have the answer"),
        (HEADER + f"{META},Who?,Rodin\n{META},Who?,Goya\n", "line 3 repeats line 2"),
        (HEADER + f"{META},Who?,Rodin\n{META},Which?,\n", "line 3 has an empty 'answer'"),
        (HEADER + f"{META},Who?,Rodin\n{META},Which?\n", "line 3 has more or fewer fields"),
        (HEADER + f"{META},Who?,Rodin\nArt,Which?,Goya\n", "line 3: column 'metadata' does not hold a Python dict"),
        (HEADER + f"{META},Who?,Rodin\n\"['Art']\",Which?,Goya\n", "line 3: column 'metadata' does not hold"),
        ("a,b\n1,2\n3,4\n", "has no column 'metadata'"),
        (HEADER.replace("problem", "question") + f"{META},Who?,Rodin\n{META},Which?,Goya\n", "has no 'problem'"),
        (HEADER + f'{META},"Who?" x,Rodin\n', "is not CSV"),
    ],
)
def test_bad_tables_name_their_line(tmp_path, content: str, wanted: str) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(content)
    with pytest.raises(TaskError) as error:
        load_task("simpleqa", data=path)
    text = one_line(error)
    assert wanted in text
    assert str(path) in text


def test_a_table_that_is_no_text_or_not_there(tmp_path) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes(b"\xff\x00")
    with pytest.raises(TaskError, match="not a text file"):
        load_task("simpleqa", data=path)
    with pytest.raises(TaskError, match="no file"):
        load_task("simpleqa", data=tmp_path / "none.csv")


def test_a_table_and_slots_do_not_go_together(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((task_folder() / "simpleqa.toml").read_text() + "\n[slots]\nx = { low = 1, high = 2 }\n")
    with pytest.raises(TaskError, match="a table and also slots"):
        load_task(path)


@given(
    words=st.lists(st.text(st.characters(exclude_characters="{}", codec="utf-8")), min_size=1, max_size=4),
    literal=st.text(st.characters(exclude_characters="{}", codec="utf-8")),
)
def test_filling_keeps_the_place_of_every_mention(words: list[str], literal: str) -> None:
    text = literal + literal.join(f"{{s{i}}}{{s{i}}}" for i in range(len(words)))
    template = parse_template("t", text)
    filled, spans = template.fill({f"s{i}": word for i, word in enumerate(words)})
    assert filled == literal + literal.join(word * 2 for word in words)
    for (slot, _), (start, end) in spans.items():
        assert filled[start:end] == words[int(slot[1:])]
    changed, _ = template.fill({f"s{i}": word for i, word in enumerate(words)}, overrides={("s0", 2): "!"})
    assert changed == literal + words[0] + "!" + filled[len(literal) + 2 * len(words[0]) :]


def test_rows_may_carry_an_id_of_their_own(tmp_path) -> None:
    plain = load_task(write(tmp_path / "plain.jsonl", GOOD))
    named = load_task(write(tmp_path / "named.jsonl", {**GOOD, "id": "row-1"}))
    assert named.pairs(1) == plain.pairs(1)
