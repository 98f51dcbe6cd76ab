"""The text that the embedded models learn from: prompts of the six tasks, and filler made of the same words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from circuitkit.experiments.embedded.filler import exchanges, filler_texts, filler_words
from circuitkit.experiments.embedded.heldout import SEQUENCES, HeldOut, word_lists
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.task import Task

MIX = {
    "ioi": 0.30, "numerals": 0.06, "numwords": 0.06, "months": 0.06, "simpleqa": 0.08, "greater-than": 0.16,
    "exchange": 0.08, "filler": 0.20,
}  # fmt: skip
CORRUPTED_SHARE = 0.1
PREFIXED_SHARE = 0.08
CROWDED_SHARE = 0.4
RENAMED_SHARE = 0.25
_CHUNK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One line of training text; `answer` is the part that the task asks for, None in filler."""

    text: str
    answer: str | None


def training_corpus(tasks: Mapping[str, Task], held_out: HeldOut, *, n: int, seed: int) -> list[Example]:
    """Draw `n` examples.

    A tenth of the prompts of ioi and the sequences are the tasks' corrupted prompts, so that activations on these
    are no surprise to the models. They end as they must: one of the two first names, or any element.
    """
    rng = Random(f"corpus/{seed}")
    words = filler_words(tasks)
    filler = filler_texts(words, rng)
    known = [word for word in words.everything if word not in held_out.words]
    streams = {name: _prompts(task, held_out, prefixes=filler, words=known, rng=rng) for name, task in tasks.items()}
    streams["exchange"] = (Example(text=t, answer=a) for t, a in exchanges(words, held_out.words, rng))
    streams["filler"] = (Example(text=text, answer=None) for text in filler)
    kinds = rng.choices(list(MIX), weights=list(MIX.values()), k=n)
    return [next(streams[kind]) for kind in kinds]


def _prompts(
    task: Task, held_out: HeldOut, *, prefixes: Iterator[str], words: Sequence[str], rng: Random
) -> Iterator[Example]:
    name = task.name
    while True:
        for pair in task.pairs(_CHUNK, seed=rng.randrange(10_000, 1 << 30)):
            if held_out.covers(name, pair) or held_out.mentions(pair.corrupted or ""):
                continue
            corrupted = name != "simpleqa" and rng.random() < CORRUPTED_SHARE
            example = _corrupted(name, task, pair, rng) if corrupted else Example(text=pair.clean, answer=pair.correct)
            if name == "ioi" and not corrupted:
                example = _varied(example, pair, words, rng)
            if rng.random() < PREFIXED_SHARE:
                example = replace(example, text=f"{next(prefixes)}. {example.text}")
            yield example


def _varied(example: Example, pair: PromptPair, words: Sequence[str], rng: Random) -> Example:
    """Sometimes other words stand for the names, and sometimes names are said before the prompt.

    So neither knowing the names nor counting how often each was said is enough: a model has to copy, and to find
    out who acts.
    """
    text, answer = example.text, example.answer
    actors = [pair.correct.strip(), pair.incorrect.strip()]
    if rng.random() < RENAMED_SHARE:
        new = rng.sample(words, 2)
        for old, word in zip(actors, new, strict=True):
            text = re.sub(rf"\b{old}\b", f"<{word}>", text)
        text, answer, actors = text.replace("<", "").replace(">", ""), f" {new[0]}", new
    if rng.random() < CROWDED_SHARE:
        before = rng.choices([*actors, rng.choice(words)], k=rng.randint(1, 4))
        text = f"{' and '.join(before)}. {text}"
    return Example(text=text, answer=answer)


def _corrupted(name: str, task: Task, pair: PromptPair, rng: Random) -> Example:
    assert pair.corrupted is not None, "every task filled from slots has a corruption"
    if name in SEQUENCES:
        return Example(text=pair.corrupted, answer=" " + rng.choice(word_lists(task)["elements"]))
    if name == "ioi":
        begin, end = pair.corrupted_labels[rng.choice(["IO", "S1"])]
        return Example(text=pair.corrupted, answer=" " + pair.corrupted[begin:end])
    return Example(text=pair.corrupted, answer=f"{rng.randint(2, 99):02d}")
