"""Held-out folds whose prompts share no content with the prompts that a probe is fitted on."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from circuitkit.core.errors import OptionError

Split = Literal["auto", "words", "filler", "template"]
"""What held-out prompts must not share with fitted ones; `auto` takes the first of the others that is possible."""

LEAST_PER_CLASS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentKeys:
    """One key a sample: samples with the same key are always on the same side.

    Attributes:
        kind: `words`, `filler` or `template`.
        rule: The rule in words.
        keys: Key of every sample.
    """

    kind: str
    rule: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folds:
    """Which fold every sample is held out in.

    Attributes:
        fold: Fold of every sample, from 0.
        content: The keys that decided it.
        n_folds: Number of folds.
    """

    fold: Int[Tensor, " sample"]
    content: ContentKeys
    n_folds: int

    @property
    def n_keys(self) -> int:
        """How many different contents there are."""
        return len(set(self.content.keys))


def parse_split(split: str) -> Split:
    """What is held out, checked.

    Raises:
        OptionError: There is no such split.
    """
    if split not in get_args(Split):
        raise OptionError(f"Split {split!r} unknown; choose one of {', '.join(get_args(Split))}.")
    return cast(Split, split)


def balanced(classes: Sequence[str], *, seed: int, what: str) -> Int[Tensor, " kept"]:
    """Samples such that every class that is kept has equally many; the others are left out.

    The number for each class is the one that keeps the most samples, at least 8; which samples of a class are
    kept is drawn.

    Args:
        classes: Class of every sample.
        seed: Seed of the draw.
        what: The target, for the error.

    Raises:
        OptionError: Fewer than two classes have enough samples.
    """
    counts = Counter(classes)
    sizes = [(each * sum(n >= each for n in counts.values()), each) for each in set(counts.values())]
    possible = [(total, each) for total, each in sizes if each >= LEAST_PER_CLASS and total >= 2 * each]
    if not possible:
        raise _too_few(counts, len(classes), what)
    each = max(possible)[1]
    order: list[int] = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed)).tolist()
    taken: Counter[str] = Counter()
    kept: list[int] = []
    for row in order:
        name = classes[row]
        if counts[name] >= each and taken[name] < each:
            taken[name] += 1
            kept.append(row)
    return torch.tensor(sorted(kept))


def _too_few(counts: Counter[str], n_prompts: int, what: str) -> OptionError:
    """The error, with the prompts that are needed if classes stay as frequent as they are here.

    The second most frequent class must reach its number; but of many rare classes the second is so frequent by luck
    alone, so that all that were seen should reach it on average.
    """
    enough = sum(n >= LEAST_PER_CLASS for n in counts.values())
    if len(counts) > 1:
        second = counts.most_common(2)[1][1]
        needed = max(LEAST_PER_CLASS * len(counts), math.ceil(n_prompts * LEAST_PER_CLASS / second))
        mend = f"Give about {needed} prompts (--n-prompts; a file must hold as many), or name another target."
    else:
        mend = "There is one class only on these prompts: name another target."
    return OptionError(
        f"Target {what!r}: {enough} of {len(counts)} classes have {LEAST_PER_CLASS} of the {n_prompts} prompts or "
        f"more; wanted at least 2 such classes. {mend}"
    )


def held_out(
    classes: Int[Tensor, "part sample"], choices: Sequence[ContentKeys], *, n_folds: int, seed: int, what: str
) -> Folds:
    """Folds by the first of several kinds of content by which they are possible.

    Folds are possible where every class of every part is among the fitted samples of every fold, so that it could
    be told, and no fold is empty.

    Args:
        classes: Class of every sample, from 0; the folds are stratified by the first part.
        choices: Kinds of content, the preferred one first.
        n_folds: Number of folds.
        seed: Seed of the folds.
        what: The target, for the error.

    Raises:
        OptionError: There is no such kind.
    """
    for content in choices:
        if len(set(content.keys)) < n_folds:
            continue
        fold = _fold(classes[0], content.keys, n_folds, seed)
        if _possible(classes, fold, n_folds):
            return Folds(fold=fold, content=content, n_folds=n_folds)
    tried = ", ".join(content.kind for content in choices)
    raise OptionError(
        f"Target {what!r}: prompts of one class have too little different content ({tried}) to hold out one part of "
        f"{n_folds} and still fit every class; wanted prompts that differ in more than the target. Lower --folds, "
        "raise --n-prompts or take --split auto."
    )


def _fold(classes: Int[Tensor, " sample"], keys: Sequence[str], n_folds: int, seed: int) -> Int[Tensor, " sample"]:
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = np.array([numbers[key] for key in keys])
    fold = torch.full((len(keys),), -1)
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    labels = np.zeros(len(keys)) if min(Counter(classes.tolist()).values()) < n_folds else classes.numpy()
    for number, (_, test) in enumerate(splitter.split(np.zeros(len(keys)), labels, groups)):
        fold[torch.from_numpy(test)] = number
    return fold


def _possible(classes: Int[Tensor, "part sample"], fold: Int[Tensor, " sample"], n_folds: int) -> bool:
    for number in range(n_folds):
        fitted = fold != number
        if bool(fitted.all()):
            return False
        if any(len(set(part[fitted].tolist())) < len(set(part.tolist())) for part in classes):
            return False
    return True
