"""Train one pair, write both models, measure what was written, and write figures and cards."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from circuitkit.experiments.embedded.architectures import Pair
from circuitkit.experiments.embedded.card import Sets, figures_table, write_card
from circuitkit.experiments.embedded.evaluate import measure_all
from circuitkit.experiments.embedded.export import save_evaluation, save_inheritance, save_model
from circuitkit.experiments.embedded.recipe import (
    Recipe,
    corpus_of,
    embedded_tasks,
    initial_student,
    make_tokenizer,
    train_student,
    train_teacher,
)
from circuitkit.models.loading import load_model

N_PROMPTS = 384


def build_pair(pair: Pair, recipe: Recipe, out: Path, students_only: bool) -> dict[str, str]:
    """Make and write a teacher and its student on one thread; the table of figures of each is returned.

    One thread a pair, so that the weights do not depend on how many cores there are. The student learns from the
    teacher that was written, so that it can be made again from that alone.
    """
    torch.set_num_threads(1)
    tasks = embedded_tasks()
    held_out, corpus = corpus_of(tasks, recipe)
    tokenizer = make_tokenizer(pair.kind, tasks, corpus)
    if not students_only:
        save_model(out / pair.teacher, train_teacher(pair, tokenizer, corpus, recipe), tokenizer)
    loaded = load_model(out / pair.teacher)
    teacher = loaded.raw
    student = train_student(pair, teacher, tokenizer, corpus, recipe)
    save_model(out / pair.student, student, tokenizer)
    save_inheritance(out / pair.student, pair.teacher, loaded.info.weights_sha256, pair.layers)

    def measured(folder: Path) -> Sets:
        return measure_all(load_model(folder), tasks, held_out, n_prompts=N_PROMPTS)

    with TemporaryDirectory() as folder:
        save_model(Path(folder), initial_student(pair, teacher, tokenizer), tokenizer)
        initial = measured(Path(folder))
    tables: dict[str, str] = {}
    for name, model, before in ((pair.teacher, teacher, None), (pair.student, student, initial)):
        figures = measured(out / name)
        save_evaluation(out / name, figures, before)
        card = write_card(name, model, pair=pair, recipe=recipe, held_out=held_out, figures=figures, initial=before)
        (out / name / "card.md").write_text(card, encoding="utf-8")
        tables[name] = figures_table(figures, before)
    return tables
