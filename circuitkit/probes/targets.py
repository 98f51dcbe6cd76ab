"""What a probe is asked to tell, read off the labels of a task."""

from collections.abc import Callable, Sequence

import torch

from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.question import Asking, Question
from circuitkit.probes.readings import Reading, plain_reading, previous_reading
from circuitkit.probes.repeats import Where, planted_repeats
from circuitkit.probes.split import ContentKeys, Folds, balanced, held_out
from circuitkit.probes.words import Side, label_word, last_free_words, other_labels, sequence_labels, word_labels
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END

SEQUENCE, NEXT, PREVIOUS, ELEMENT = "sequence", "next", "previous", "element-"
PRIOR, PRIOR_LABELS = "prior-occurrence", "prior-occurrence-labels"


def default_targets(batch: PromptBatch) -> tuple[str, ...]:
    """Every target that a batch gives; prior occurrence at labels alone has to be named."""
    elements, labels = sequence_labels(batch), word_labels(batch)
    if elements:
        return (*(f"{ELEMENT}{i}" for i in range(1, len(elements) + 1)), SEQUENCE, NEXT, PREVIOUS, PRIOR)
    kept: list[str] = []
    for label in labels:  # a label that repeats an earlier one's word asks nothing new
        if label in other_labels(batch, kept, "clean"):
            kept.append(label)
    return (*(kept or (NEXT,)), PRIOR)


def ask(model: HookedModel, batch: PromptBatch, target: str, asking: Asking) -> Question:
    """The question of a target's name.

    Raises:
        OptionError: The task has no such target or place, or its prompts are too few or too alike.
    """
    elements = sequence_labels(batch)
    makers: dict[str, Callable[[], Question]] = {
        SEQUENCE: lambda: _words(batch, target, elements, asking),
        NEXT: lambda: _next(batch, target, asking),
        PREVIOUS: lambda: _previous(batch, target, elements, asking),
        PRIOR: lambda: _prior(model, batch, target, "positions", asking),
        PRIOR_LABELS: lambda: _prior(model, batch, target, "labels", asking),
    }
    if target in makers:
        if target in (SEQUENCE, PREVIOUS) and not elements:
            raise _unknown(batch, target)
        return makers[target]()
    return _words(batch, target, (_label(batch, target, elements),), asking)


def _label(batch: PromptBatch, target: str, elements: Sequence[str]) -> str:
    labels, number = word_labels(batch), target.removeprefix(ELEMENT)
    if target.startswith(ELEMENT) and number.isdecimal() and 1 <= int(number[:9]) <= len(elements):
        return elements[int(number) - 1]
    if target in labels:
        return target
    if f"{target}1" in labels:  # S is the word at S1 and again at S2
        return f"{target}1"
    raise _unknown(batch, target)


def _unknown(batch: PromptBatch, target: str) -> OptionError:
    possible = dict.fromkeys((*default_targets(batch), *word_labels(batch), NEXT, PRIOR_LABELS))
    return OptionError(f"Target {target[:60]!r} is none of task {batch.task.name!r}; choose of {', '.join(possible)}.")


def _side(batch: PromptBatch, elements: Sequence[str], asking: Asking) -> Side:
    has = batch.corrupted is not None and batch.positional and all(p.corrupted_labels for p in batch.pairs)
    if asking.side == "corrupted" and not has:
        raise OptionError(
            f"The corrupted prompts of task {batch.task.name!r} are missing or not as long as the clean ones, so that "
            "their labels cannot be found; take --side clean."
        )
    if asking.side != "auto":
        return asking.side
    return "corrupted" if elements and has else "clean"


def _words(batch: PromptBatch, target: str, labels: Sequence[str], asking: Asking) -> Question:
    """Which word stands at a label; or at each of several."""
    elements = sequence_labels(batch)
    side = _side(batch, elements, asking)
    words = [[label_word(pair, label, side) for pair in batch.pairs] for label in labels]
    reading = plain_reading(batch, side, asking.at or END)
    keyed = labels if len(labels) > 1 else other_labels(batch, labels, side)
    what = "whole sequence" if len(labels) > 1 else "words at " + ", ".join(keyed)
    about = f"the word at {labels[0]}" if len(labels) == 1 else f"the words at {', '.join(labels)}, all of them"
    return _question(
        batch,
        target,
        f"{about}, read at {reading.place} of the {side} prompts",
        reading,
        words,
        content=_content(batch, keyed, side, what),
        asking=asking,
        side=side,
        own=labels,
    )


def _next(batch: PromptBatch, target: str, asking: Asking) -> Question:
    """Which answer is right; only clean prompts have one."""
    if asking.side == "corrupted":
        raise OptionError(f"Target {target!r}: only clean prompts have a right answer; take --side clean.")
    reading = plain_reading(batch, "clean", asking.at or END)
    labels = word_labels(batch)
    return _question(
        batch,
        target,
        f"the right answer, read at {reading.place} of the clean prompts",
        reading,
        [[pair.correct.strip() for pair in batch.pairs]],
        content=_content(batch, labels, "clean", "words at " + ", ".join(labels)),
        asking=asking,
        side="clean",
        own=(),
    )


def _previous(batch: PromptBatch, target: str, elements: Sequence[str], asking: Asking) -> Question:
    """Which element came before the one that is read."""
    side = _side(batch, elements, asking)
    places, reading = previous_reading(batch, side, elements, at=asking.at, seed=asking.seed)
    pairs = list(zip(batch.pairs, places, strict=True))
    here = [label_word(pair, elements[place], side) for pair, place in pairs]
    return _question(
        batch,
        target,
        f"the element before the one that is read, at {reading.place} of the {side} prompts",
        reading,
        [[label_word(pair, elements[place - 1], side) for pair, place in pairs]],
        content=[ContentKeys(kind="words", rule=_rule("element that is read"), keys=tuple(here))],
        asking=asking,
        side=side,
        own=(),
    )


def _prior(model: HookedModel, batch: PromptBatch, target: str, where: Where, asking: Asking) -> Question:
    """Whether the token that is read stood earlier in the prompt."""
    if asking.at is not None or asking.side == "clean":
        raise OptionError(f"Target {target!r} is read at places drawn at random; drop --at and --side for it.")
    side = _side(batch, ("any",), asking)
    n = len(batch.pairs)
    repeats = planted_repeats(batch, side, where=where, n_parts=asking.n_folds, seed=asking.seed)
    read = [pair[i] for i in (0, 1, 0, 1) for pair in repeats.tokens]
    tokens = tuple(str(token) for token in model.tokenizer.convert_ids_to_tokens(read))
    content = ContentKeys(kind="words", rule=_rule("planted token"), keys=tokens)
    if asking.split not in ("auto", content.kind):
        raise OptionError(
            f"Target {target!r} is split by the tokens that are planted; take --split auto or words for it."
        )
    return Question(
        target=target,
        about=f"whether the token that is read stood earlier, at {repeats.reading.place} of the {side} prompts; each "
        "twice with a repeat and twice without",
        reading=repeats.reading,
        rows=torch.arange(4 * n),
        prompts=torch.arange(n).repeat(4),
        classes=torch.tensor([[1] * (2 * n) + [0] * (2 * n)]),
        names=(("new", "repeated"),),
        metric="AUROC",
        chance=0.5,
        folds=Folds(fold=repeats.part.repeat(4), content=content, n_folds=asking.n_folds),
        notices=(),
    )


def _rule(what: str) -> str:
    return f"prompts with the same {what} are never on both sides"


def _content(batch: PromptBatch, labels: Sequence[str], side: Side, what: str) -> list[ContentKeys]:
    if not labels:
        return []
    keys = tuple("|".join(label_word(pair, label, side) for label in labels) for pair in batch.pairs)
    return [ContentKeys(kind="words", rule=_rule(what), keys=keys)]


def _question(
    batch: PromptBatch,
    target: str,
    about: str,
    reading: Reading,
    words: list[list[str]],
    *,
    content: list[ContentKeys],
    asking: Asking,
    side: Side,
    own: Sequence[str],
) -> Question:
    """Balance the classes of a target and split its samples."""
    if len(words) == 1:
        rows = balanced(words[0], seed=asking.seed, what=target)
    else:
        rows = torch.arange(len(batch.pairs))  # parts cannot all be balanced at once
    kept = rows.tolist()
    names = tuple(tuple(sorted({part[row] for row in kept}, key=_natural)) for part in words)
    classes = torch.tensor(
        [[options.index(part[row]) for row in kept] for part, options in zip(words, names, strict=True)]
    )
    choices = [*content, *_weaker(batch, side)]
    wanted = [
        ContentKeys(kind=c.kind, rule=c.rule, keys=tuple(c.keys[row] for row in kept))
        for c in choices
        if asking.split in ("auto", c.kind)
    ]
    folds = held_out(classes, wanted, n_folds=asking.n_folds, seed=asking.seed, what=target)
    chance = float(torch.stack([part.bincount().max() / len(kept) for part in classes]).prod())
    lost = len(words[0]) - len(kept)
    left_out = f"{target}: {lost} of {len(words[0])} prompts were left out so that every class has equally many."
    return Question(
        target=target,
        about=about,
        reading=reading,
        rows=rows,
        prompts=rows,
        classes=classes,
        names=names,
        metric="accuracy",
        chance=chance,
        folds=folds,
        notices=(
            *([left_out] if lost > len(words[0]) / 2 else []),
            *_settled(batch, target, words, side, own),
        ),
    )


def _weaker(batch: PromptBatch, side: Side) -> list[ContentKeys]:
    """Content that has nothing to do with the target: what is left where the target's own content cannot be split."""
    filler = last_free_words(batch, side)
    found: list[ContentKeys] = []
    if all(filler):
        found.append(ContentKeys(kind="filler", rule=_rule("last free word (a filler)"), keys=tuple(filler)))
    templates = tuple(pair.template for pair in batch.pairs)
    return [*found, ContentKeys(kind="template", rule=_rule("template"), keys=templates)]


def _settled(batch: PromptBatch, target: str, words: list[list[str]], side: Side, own: Sequence[str]) -> list[str]:
    """Whether another labelled word settles the target, so that a probe may read that word in its place."""
    if len(words) > 1:
        return []
    settling: list[str] = []
    for label in other_labels(batch, own, side) if own else word_labels(batch):
        beside = [label_word(pair, label, side) for pair in batch.pairs]
        if len(set(zip(beside, words[0], strict=True))) == len(set(beside)) < len(beside):
            settling.append(label)
    if not settling:
        return []
    return [
        f"{target}: on these prompts the word at {' or at '.join(settling)} settles it, so a probe that reads only "
        "that word scores as well."
    ]


def _natural(word: str) -> tuple[int, int, str]:
    """Numbers by size before other words."""
    return (0, int(word), "") if word.isdecimal() and word.isascii() else (1, 0, word)
