"""Text that is no task: the tasks' words in random and repeated order, so that every word is learned as a word."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from random import Random

from circuitkit.experiments.embedded.heldout import SEQUENCES, word_lists
from circuitkit.tasks.task import Task

# None of them is a prompt of a task; held-out names and nouns occur in all of their places.
_SCENES = (
    "{a} met {b}. {b} met {a}. {a} met {b}",
    "{a} and {b} and {c} went to the {place}. {a} and {b} and {c}",
    "{a} gave a {object} to {b}. {a} gave a {object} to {b}",
    "{a} said to {b}: {noun}. {b} said to {a}: {noun}",
    "{c} went to the {place}, {a} went to the {place}, {b} went to the {place}",
    "{noun} and {other}. {other} and {noun}. {noun} and {other}",
    "The {event} of {a}, the {noun} of {b}. The {event} of {a}, the {noun} of {b}",
    "The {object} of {a}, the {noun} of {b}. The {object} of {a}, the {noun} of {b}",
)

# Two are named, one of them again, then the other: what ioi asks, in fewer words.
_EXCHANGES = ("{a} and {b}. {c} to", "{a}, {b}. {c} gave it to", "{a} met {b}. {c} said to")


@dataclass(frozen=True, slots=True, kw_only=True)
class FillerWords:
    """The tasks' words, sorted, by what they stand for; `everything` holds all of them and the elements."""

    names: tuple[str, ...]
    nouns: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]
    events: tuple[str, ...]
    everything: tuple[str, ...]


def filler_words(tasks: Mapping[str, Task]) -> FillerWords:
    """Collect the words of the task files."""
    ioi, sequence = word_lists(tasks["ioi"]), word_lists(tasks["numerals"])
    events = word_lists(tasks["greater-than"])["nouns"]
    elements = {word for name in SEQUENCES for word in word_lists(tasks[name])["elements"]}
    names = {*ioi["names"], *sequence["names"]}
    return FillerWords(
        names=tuple(sorted(names)),
        nouns=tuple(sorted(sequence["nouns"])),
        places=ioi["places"],
        objects=ioi["objects"],
        events=events,
        everything=tuple(sorted(names | elements | {*sequence["nouns"], *ioi["places"], *ioi["objects"], *events})),
    )


def filler_texts(words: FillerWords, rng: Random) -> Iterator[str]:
    """Random words said twice, small scenes that repeat themselves, and random words; without end."""
    while True:
        kind = rng.random()
        if kind < 0.4:
            line = rng.choices(words.everything, k=rng.randint(3, 9))
            yield " ".join(line + line[: rng.randint(2, len(line))])
        elif kind < 0.85:
            yield _scene(words, rng)
        else:
            yield " ".join(rng.choices(words.everything, k=rng.randint(2, 10)))


def _scene(words: FillerWords, rng: Random) -> str:
    a, b, c = rng.sample(words.names, 3)
    noun, other = rng.sample(words.nouns, 2)
    return rng.choice(_SCENES).format(
        a=a,
        b=b,
        c=c,
        noun=noun,
        other=other,
        place=rng.choice(words.places),
        object=rng.choice(words.objects),
        event=rng.choice(words.events),
    )


def exchanges(words: FillerWords, avoid: Set[str], rng: Random) -> Iterator[tuple[str, str]]:
    """Two names or nouns, then one of them again; the text and its answer, the other one. None is of `avoid`.

    They let the models find out sooner that a word said twice is not the answer.
    """
    pools = [sorted(set(pool) - avoid) for pool in (words.names, words.names, words.nouns)]
    while True:
        a, b = rng.sample(rng.choice(pools), 2)
        answer, said = rng.sample([a, b], 2)
        yield rng.choice(_EXCHANGES).format(a=a, b=b, c=said), f" {answer}"
