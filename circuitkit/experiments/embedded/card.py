"""The model card of an embedded model, written from what was measured."""

import textwrap
from collections.abc import Mapping

from transformers import PreTrainedModel

from circuitkit.experiments.embedded.architectures import TEACHER_LAYERS, Pair
from circuitkit.experiments.embedded.corpus import CORRUPTED_SHARE, CROWDED_SHARE, MIX, PREFIXED_SHARE, RENAMED_SHARE
from circuitkit.experiments.embedded.evaluate import HELD_OUT_SEED, Figures
from circuitkit.experiments.embedded.heldout import HeldOut
from circuitkit.experiments.embedded.recipe import Recipe

_CARD = """# {name}: {headline}

A `{architecture}` of {n_params:,} parameters: {n_layers} layers of 4 heads, width 96, at most 128 tokens, a
vocabulary of {vocabulary:,}. It is small enough to ship with circuitkit, so that every command and test runs
offline on a mechanism that was really learned. {origin}

## How it was made
`python -m circuitkit.experiments.embedded` rebuilds it, with the other five, from seed {seed}: {schedule}.
The weights are stored in float16 and were measured after that rounding. The same machine and library versions
give the same weights; others may differ in rounding and so in every figure below.

## Training data
{corpus_size:,} examples: {mix}.
Prompts come from circuitkit's own task files. {corrupted:.0%} of the prompts filled from slots are the task's
corrupted prompts, with an answer drawn from what they leave open. {prefixed:.0%} of all prompts stand after a
line of filler. In ioi, {renamed:.0%} of the clean prompts name other words instead of people, and before
{crowded:.0%} of them names are said a few times, so that neither knowing the names nor counting them is enough.
Exchanges are ioi in few words ("Hat and Lake. Lake to"). Filler is the tasks' words in random and
repeated order and small scenes that say things twice.

Left out of every training prompt (filler has the words, also where it stands before a prompt): {words};
for each template of a sequence one first element of eight; {years} of the 679 (century, year) pairs of
`greater-than`. **All facts of `simpleqa` are trained on: they are memorised, and its figures say nothing
about facts that were not.**

## Figures
Right: the answer's logit is above the distractor's. Logit difference: the mean of the two logits' difference.
First: the answer is the first of all tokens (in `greater-than` any later year is right, so that few answers
are). Default prompts are the product's (seed 0), with words that training had too; held-out prompts (seed
{held_out_seed}) hold something that was left out.

{table}

## What it is not for
Anything but trying and testing circuitkit. It knows some {vocabulary:,} tokens and six kinds of sentence, says nothing
sensible about other text, and its circuits are evidence about small models trained on these prompts, not about
the pretrained models whose classes it borrows. Its facts are few and come from a list.
"""
_HEADLINES = {
    "toy-gpt2": "a small GPT-2 that does six tasks",
    "toy-distilgpt2": "toy-gpt2 distilled into two layers",
    "toy-bert": "a small BERT that does six tasks",
    "toy-distilbert": "toy-bert distilled into a DistilBERT of two layers",
    "toy-llama": "a small Llama that does six tasks",
    "toy-minitron": "toy-llama distilled into two layers",
}
Sets = Mapping[str, Mapping[str, Figures | None]]


def write_card(
    name: str,
    model: PreTrainedModel,
    *,
    pair: Pair,
    recipe: Recipe,
    held_out: HeldOut,
    figures: Sets,
    initial: Sets | None,
) -> str:
    """The card as Markdown; its first line is `# NAME: headline`."""
    student = name == pair.student
    schedule = (recipe.students if student else recipe.teachers)[pair.kind]
    layers = " and ".join(str(layer) for layer in pair.layers)
    goal = (
        f"distilled from the logits of {pair.teacher} (temperature {recipe.temperature:g}, no labels)"
        if student
        else "trained on next tokens, those of answers weighted 5 (masked models: on the masked tokens)"
    )
    text = _CARD.format(
        name=name,
        headline=_HEADLINES[name],
        architecture=type(model).__name__,
        n_params=model.num_parameters(),
        n_layers=len(pair.layers) if student else TEACHER_LAYERS,
        vocabulary=model.config.vocab_size,
        origin=(
            f"It started as layers {layers} of {pair.teacher}; its distillation ended early, so that it is right "
            "but weaker."
            if student
            else f"It is the teacher of {pair.student}."
        ),
        seed=recipe.seed,
        schedule=(
            f"{goal}, {schedule.steps:,} steps of {schedule.batch_size} rows, AdamW, peak rate "
            f"{schedule.learning_rate:g}, weight decay {schedule.weight_decay:g}"
        ),
        corpus_size=recipe.corpus_size,
        mix=", ".join(f"{share:.0%} {kind}" for kind, share in MIX.items()),
        corrupted=CORRUPTED_SHARE,
        prefixed=PREFIXED_SHARE,
        renamed=RENAMED_SHARE,
        crowded=CROWDED_SHARE,
        words=", ".join(sorted(held_out.words)),
        years=sum(task == "greater-than" for task, *_ in held_out.starts),
        held_out_seed=HELD_OUT_SEED,
        table=figures_table(figures, initial),
    )
    return "\n\n".join(_filled(paragraph) for paragraph in text.split("\n\n")) + "\n"


def _filled(paragraph: str) -> str:
    """Break the lines of prose anew; headings stand alone and tables keep theirs."""
    if paragraph.startswith("|"):
        return paragraph
    lines = paragraph.strip().split("\n")
    heading = lines[:1] if lines[0].startswith("#") else []
    prose = " ".join(lines[len(heading) :])
    return "\n".join([*heading, *textwrap.wrap(prose, width=110, break_on_hyphens=False)])


def figures_table(figures: Sets, initial: Sets | None) -> str:
    """One Markdown row a task; for a student also what it did before distillation."""
    head = ["task", "prompts", "right", "logit difference", "first"]
    head += ["right before distillation", "logit difference before"] if initial else []
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for task, sets in figures.items():
        for prompts, found in sets.items():
            if found is not None:
                before = initial[task][prompts] if initial else None
                rows.append(
                    [task, prompts.replace("_", "-"), *_cells(found), *([] if before is None else _cells(before)[:2])]
                )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(found: Figures) -> list[str]:
    return [f"{found.accuracy:.1%}", f"{found.logit_diff:.2f}", f"{found.top1:.1%}"]
