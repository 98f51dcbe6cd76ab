"""Label maps of a teacher and a student over the labels that they share, and how their heads fit words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.attention_figures import HeadPair, head_names
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.geometry import LabelMaps, all_token_scores, label_maps
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END

MOST_WORDS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QkMatrices:
    """Matrices between labels and between words, of every head of two models.

    Attributes:
        teacher: The teacher's maps; the student's have the same labels in the same order.
        student: The student's.
        readable: Pairs of labels that can be read in both models.
        words: Commonest words at the labels that are single tokens of both models; none where there are not two.
        word_scores: How each head's query of one fits its key of another, by the weights alone, in nats.
        notices: What a reader must see.
    """

    teacher: LabelMaps
    student: LabelMaps
    readable: Bool[Tensor, "query key"]
    words: tuple[str, ...]
    word_scores: tuple[Float[Tensor, "teacher_head word word"], Float[Tensor, "student_head word word"]] | None
    notices: tuple[str, ...]


def read_matrices(pair: PairMeasurements, drawn: Sequence[HeadPair], *, progress: Progress = silent) -> QkMatrices:
    """Run the clean prompts of both models; those of the drawn heads are kept prompt by prompt.

    Raises:
        OptionError: The prompts share no labels.
    """
    models = pair.teacher_model, pair.student_model
    names = list(zip(*(head_names(pair, head) for head in drawn), strict=True))
    found: list[LabelMaps] = []
    for who, model, batch, keep in zip(("teacher", "student"), models, pair.batches, names, strict=True):

        def told(stage: str, done: int, total: int, who: str = who) -> None:
            progress(f"{who} {stage}", done, total)

        found.append(label_maps(model, batch, keep=set(keep), batch_size=pair.batch_size, progress=told))
    labels = tuple(label for label in found[0].labels if label in found[1].labels)
    teacher, student = (_only(maps, labels) for maps in found)
    words = label_words(models, pair.batches[0])
    return QkMatrices(
        teacher=teacher,
        student=student,
        readable=(teacher.readable > 0) & (student.readable > 0),
        words=words,
        word_scores=(all_token_scores(models[0], words), all_token_scores(models[1], words)) if words else None,
        notices=()
        if words
        else ("No two words at the labels are single tokens of both models: the fit of words is left out.",),
    )


def label_words(models: tuple[HookedModel, HookedModel], batch: PromptBatch) -> tuple[str, ...]:
    """The commonest words at the labels (END left out) that are single tokens of both models; numbers in their order.

    Args:
        models: The teacher and the student.
        batch: The teacher's prompts.
    """
    counts: Counter[int] = Counter()
    for label, at in batch.label_positions.items():
        if label != END:
            counts.update(batch.clean.ids[torch.arange(len(at)), at].tolist())
    teacher, student = models
    words: list[str] = []
    for token, _ in counts.most_common():
        text = cast(str, teacher.tokenizer.decode([token]))
        if _ids(teacher, text) == [token] and len(_ids(student, text)) == 1:
            words.append(text)
        if len(words) == MOST_WORDS:
            break
    if len(words) < 2:
        return ()
    return tuple(sorted(words, key=int)) if all(word.strip().isdecimal() for word in words) else tuple(words)


def _ids(model: HookedModel, text: str) -> list[int]:
    return cast(list[int], model.tokenizer(text, add_special_tokens=False)["input_ids"])


def _only(maps: LabelMaps, labels: tuple[str, ...]) -> LabelMaps:
    at = torch.tensor([maps.labels.index(label) for label in labels], dtype=torch.long)

    def cut(values: Tensor, first: int) -> Tensor:
        return values.index_select(first, at).index_select(first + 1, at)

    return replace(
        maps,
        labels=labels,
        pattern=cut(maps.pattern, 1),
        scores=cut(maps.scores, 1),
        readable=cut(maps.readable, 0),
        each_pattern=cut(maps.each_pattern, 1),
        each_score=cut(maps.each_score, 1),
    )
