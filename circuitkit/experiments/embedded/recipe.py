"""The whole recipe: from seeds to six trained models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuitkit.experiments.embedded.architectures import MAX_LENGTH, TEACHER_LAYERS, Pair, new_model
from circuitkit.experiments.embedded.corpus import Example, training_corpus
from circuitkit.experiments.embedded.encoding import encode
from circuitkit.experiments.embedded.heldout import HeldOut, choose_held_out
from circuitkit.experiments.embedded.initialisation import initialise_student
from circuitkit.experiments.embedded.tokenizers import TokenizerKind, build_tokenizer
from circuitkit.experiments.embedded.training import Schedule, distil, train
from circuitkit.tasks.encoding import pad_id
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.task import Task

TASKS = ("numerals", "numwords", "months", "ioi", "simpleqa", "greater-than")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every number that decides what the models become.

    Attributes:
        corpus_size: Examples drawn; they are used as often as the schedules need.
        seed: Seed of the held-out words, of the corpus, of the initial weights and of the order of the data.
        teachers: Kind of tokenizer -> schedule of the teacher.
        students: Kind of tokenizer -> schedule of the student; they end before the student is as good.
        temperature: Of the distillation.
    """

    corpus_size: int = 80_000
    seed: int = 0
    teachers: Mapping[str, Schedule] = field(
        default_factory=lambda: {
            "gpt2": Schedule(steps=2200, learning_rate=3e-3),
            "bert": Schedule(steps=4000, learning_rate=2e-3),
            "llama": Schedule(steps=2500, learning_rate=3e-3),
        }
    )
    students: Mapping[str, Schedule] = field(
        default_factory=lambda: {
            "gpt2": Schedule(steps=400, learning_rate=1e-3),
            "bert": Schedule(steps=400, learning_rate=1e-3),
            "llama": Schedule(steps=400, learning_rate=1e-3),
        }
    )
    temperature: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPair:
    """A teacher, its student, and the student as it was before distillation."""

    pair: Pair
    tokenizer: PreTrainedTokenizerFast
    teacher: PreTrainedModel
    student: PreTrainedModel
    initial: PreTrainedModel


def embedded_tasks() -> dict[str, Task]:
    """The six tasks that the models are trained on."""
    return {name: load_task(name) for name in TASKS}


def corpus_of(tasks: Mapping[str, Task], recipe: Recipe) -> tuple[HeldOut, list[Example]]:
    """What is held out, and the training text, which all six models share."""
    held_out = choose_held_out(tasks, recipe.seed)
    return held_out, training_corpus(tasks, held_out, n=recipe.corpus_size, seed=recipe.seed)


def make_tokenizer(
    kind: TokenizerKind, tasks: Mapping[str, Task], corpus: Sequence[Example]
) -> PreTrainedTokenizerFast:
    """The tokenizer of one kind; every word of the corpus and every answer of `simpleqa` is in its vocabulary."""
    facts = tasks["simpleqa"].pairs(1000)
    return build_tokenizer(
        kind,
        texts=[example.text + (example.answer or "") for example in corpus],
        words=sorted({fact.correct.strip() for fact in facts}),
        max_length=MAX_LENGTH,
    )


def train_pair(pair: Pair, tasks: Mapping[str, Task], corpus: Sequence[Example], recipe: Recipe) -> TrainedPair:
    """Train a teacher on labels; start its student from some of its layers and distil the teacher's logits into it."""
    tokenizer = make_tokenizer(pair.kind, tasks, corpus)
    rows = encode(corpus, tokenizer, seed=recipe.seed)
    pad = pad_id(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        teacher = new_model(pair.teacher, tokenizer, n_layers=TEACHER_LAYERS)
        initial, student = (new_model(pair.student, tokenizer, n_layers=len(pair.layers)) for _ in range(2))
        train(teacher, rows, recipe.teachers[pair.kind], pad=pad, seed=recipe.seed)
        for model in (initial, student):
            initialise_student(model, teacher, layers=pair.layers)
        schedule = recipe.students[pair.kind]
        distil(student, teacher, rows, schedule, temperature=recipe.temperature, pad=pad, seed=recipe.seed + 1)
    return TrainedPair(pair=pair, tokenizer=tokenizer, teacher=teacher, student=student, initial=initial)
