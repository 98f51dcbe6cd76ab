"""The whole recipe: from seeds to six trained models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuitkit.experiments.embedded.architectures import MAX_LENGTH, TEACHER_LAYERS, Pair, new_model
from circuitkit.experiments.embedded.corpus import Example, training_corpus
from circuitkit.experiments.embedded.encoding import encode
from circuitkit.experiments.embedded.export import round_to_half
from circuitkit.experiments.embedded.heldout import HeldOut, choose_held_out
from circuitkit.experiments.embedded.tokenizers import TokenizerKind, build_tokenizer
from circuitkit.experiments.embedded.training import Schedule, distil, train
from circuitkit.models.inherit import copy_layers
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
            "gpt2": Schedule(steps=3200, learning_rate=3e-3, weight_decay=0.3),
            "bert": Schedule(steps=4000, learning_rate=2e-3),
            "llama": Schedule(steps=2500, learning_rate=3e-3, weight_decay=0.3),
        }
    )
    students: Mapping[str, Schedule] = field(
        default_factory=lambda: {
            "gpt2": Schedule(steps=100, learning_rate=1e-3, warmup=20, weight_decay=6.0),
            "bert": Schedule(steps=60, learning_rate=1e-3, warmup=20),
            "llama": Schedule(steps=90, learning_rate=1e-3, warmup=20, weight_decay=4.0),
        }
    )
    temperature: float = 2.0


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


def train_teacher(
    pair: Pair, tokenizer: PreTrainedTokenizerFast, corpus: Sequence[Example], recipe: Recipe
) -> PreTrainedModel:
    """Train a teacher on labels; its weights are rounded to float16, as they are shipped."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        teacher = new_model(pair.teacher, tokenizer, n_layers=TEACHER_LAYERS)
    rows = encode(corpus, tokenizer, seed=recipe.seed)
    train(teacher, rows, recipe.teachers[pair.kind], pad=pad_id(tokenizer), seed=recipe.seed)
    round_to_half(teacher)
    return teacher


def initial_student(pair: Pair, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A student that is some of its teacher's layers and nothing else."""
    student = new_model(pair.student, tokenizer, n_layers=len(pair.layers))
    copy_layers(teacher, student, dict(enumerate(pair.layers)))
    return student


def train_student(
    pair: Pair,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    corpus: Sequence[Example],
    recipe: Recipe,
) -> PreTrainedModel:
    """Start a student from some of the teacher's layers and distil the teacher's logits into it."""
    student = initial_student(pair, teacher, tokenizer)
    distil(
        student,
        teacher,
        encode(corpus, tokenizer, seed=recipe.seed),
        recipe.students[pair.kind],
        temperature=recipe.temperature,
        pad=pad_id(tokenizer),
        seed=recipe.seed + 1,
    )
    return student
