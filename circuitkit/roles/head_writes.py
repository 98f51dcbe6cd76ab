"""What heads write, read as tokens: at the answer, and what they would fetch from where a role reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.interventions.clean_run import CleanRun, run_clean
from circuitkit.interventions.rows import Rows, shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.final_lens import POST_NORM_WRITES, FinalLens
from circuitkit.roles.permuted import TokenHits, count_hits
from circuitkit.roles.places import Places
from circuitkit.tasks.batch import PromptBatch

ROWS_AT_A_TIME = 32
WRITES_TOGETHER = 256
"""Writes unembedded at once: from here on the unembedding costs about the same a write."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WriteTop:
    """Answers among the top tokens of what heads write at the answer position.

    Attributes:
        correct: The correct answer (a successor head writes it).
        incorrect: The incorrect answer (in sequences, a copying head writes it).
        top: The top tokens, highest first.
        notice: What a reader must know about this model; None if there is nothing.
    """

    correct: TokenHits
    incorrect: TokenHits
    top: Int[Tensor, "head prompt k"]
    notice: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyCopies:
    """Attended tokens among the extreme tokens of what heads make of them.

    Attributes:
        copies: The attended token is among the top tokens.
        suppresses: It is among the bottom tokens.
        notice: What a reader must know about this model; None if there is nothing.
    """

    copies: TokenHits
    suppresses: TokenHits
    notice: str | None


@torch.no_grad()
def write_top(
    model: HookedModel,
    batch: PromptBatch,
    heads: Sequence[Component],
    *,
    k: int = 5,
    n_draws: int = 1000,
    seed: int = 0,
) -> WriteTop:
    """Whether what heads write at the answer position puts an answer among its top tokens.

    The write is z W_O of the clean run; how it is read is told in `FinalLens`. Gould et al. 2024; Distilled Circuits,
    Appendix J. Null: the same top tokens and the answers of other prompts.

    Args:
        model: The model.
        batch: Prompts.
        heads: The heads asked for; results keep their order.
        k: Number of top tokens.
        n_draws: Permutations of the answers over the prompts.
        seed: Seed of the permutations.

    Raises:
        OptionError: k is not between 1 and the size of the vocabulary, or a component is no head.
    """
    _check(model, heads, k)
    top = torch.zeros(len(heads), len(batch.pairs), k, dtype=torch.long)
    for rows in shards(batch, ROWS_AT_A_TIME):
        taken = take(batch.clean, rows, model)
        clean = run_clean(model, taken)
        lens = _lens(model, taken, clean)
        for some in _together(len(heads), len(rows)):
            written = torch.stack([_written(model, taken, clean, heads[i]).to(model.device) for i in some.tolist()])
            top[some[:, None], rows] = lens.vocabulary(written).topk(k).indices.cpu()
    every = torch.arange(len(batch.pairs))
    options = {"n_prompts": len(batch.pairs), "n_draws": n_draws, "seed": seed}
    return WriteTop(
        correct=count_hits(top, batch.correct_ids, every, **options),
        incorrect=count_hits(top, batch.incorrect_ids, every, **options),
        top=top,
        notice=None if model.family.pre_norm else POST_NORM_WRITES,
    )


@torch.no_grad()
def key_copies(
    model: HookedModel,
    batch: PromptBatch,
    places: Places,
    heads: Sequence[Component],
    *,
    k: int = 5,
    n_draws: int = 1000,
    seed: int = 0,
) -> KeyCopies:
    """Whether the OV circuit of heads copies or suppresses the tokens that a role reads.

    The clean stream at every key of the role (of any query) goes through the head's values and W_O, as if the head read
    nothing else, and is read as the end of the model does. A copying head has the attended token among the top k
    (Wang et al. 2023, section 3.1: copy score), a suppressing one among the bottom k (McDougall et al. 2023). Null: the
    same tops with the attended tokens permuted over all keys.

    Args:
        model: The model.
        batch: Prompts.
        places: Where the role reads in the clean prompts.
        heads: The heads asked for; results keep their order.
        k: Number of top and of bottom tokens.
        n_draws: Permutations.
        seed: Seed of the permutations.

    Raises:
        OptionError: k is not between 1 and the size of the vocabulary, or a component is no head.
    """
    _check(model, heads, k)
    at_keys = places.keys.any(1) & places.defined[:, None]
    prompt, position = at_keys.nonzero(as_tuple=True)
    top, bottom = (torch.zeros(len(heads), len(prompt), k, dtype=torch.long) for _ in range(2))
    for rows in shards(batch, ROWS_AT_A_TIME):
        where = torch.isin(prompt, rows).nonzero()[:, 0]
        if not len(where):
            continue
        taken = take(batch.clean, rows, model)
        clean = run_clean(model, taken)
        row = torch.empty(len(batch.pairs), dtype=torch.long).index_copy_(0, rows, torch.arange(len(rows)))[
            prompt[where]
        ]
        lens = _lens(model, taken, clean, row)
        for some in _together(len(heads), len(where)):
            asked = [heads[i] for i in some.tolist()]
            found = [_fetched(model, head, clean.hidden[head.layer][row, position[where]]) for head in asked]
            logits = lens.vocabulary(torch.stack([written.to(model.device) for written in found]))
            top[some[:, None], where] = logits.topk(k).indices.cpu()
            bottom[some[:, None], where] = logits.topk(k, largest=False).indices.cpu()
    tokens = batch.clean.ids[prompt, position]
    options = {"n_prompts": len(batch.pairs), "n_draws": n_draws, "seed": seed}
    return KeyCopies(
        copies=count_hits(top, tokens, prompt, **options),
        suppresses=count_hits(bottom, tokens, prompt, **options),
        notice=None if model.family.pre_norm else POST_NORM_WRITES,
    )


def _together(n_heads: int, n_rows: int) -> tuple[Int[Tensor, " some"], ...]:
    """Numbers of the heads whose writes are unembedded at once."""
    return torch.arange(n_heads).split(max(1, WRITES_TOGETHER // n_rows))


def _check(model: HookedModel, heads: Sequence[Component], k: int) -> None:
    if not 1 <= k <= model.info.vocab_size:
        raise OptionError(f"Top {k} tokens asked of {model.info.vocab_size}; give a number from 1 up to that.")
    for head in heads:
        if head.head is None or head not in model.components:
            raise OptionError(
                f"{head} is no head of {model.info.name!r}, which has {model.info.n_layers} layers of "
                f"{model.info.n_heads} heads; layers and heads count from 0."
            )


def _lens(model: HookedModel, rows: Rows, clean: CleanRun, which: Int[Tensor, " place"] | None = None) -> FinalLens:
    """The end of the model as it was in some of the prompts (None: in all of them)."""
    stream = _at_answer(rows, clean.resid)
    return FinalLens(model, stream if which is None else stream[which.to(stream.device)])


def _at_answer(rows: Rows, x: Float[Tensor, "row pos *rest"]) -> Float[Tensor, "row *rest"]:
    row = torch.arange(len(x), device=x.device)
    return x[row, rows.answer_pos.to(x.device)]


def _written(model: HookedModel, rows: Rows, clean: CleanRun, head: Component) -> Float[Tensor, "row d_model"]:
    """What one head writes at the answer position: its z times W_O."""
    z = _at_answer(rows, clean.z[head.layer])[:, head.head]
    return z @ model.w_o(head.layer)[head.head].to(z)


def _fetched(
    model: HookedModel, head: Component, stream: Float[Tensor, "place d_model"]
) -> Float[Tensor, "place d_model"]:
    """What a head writes when it reads one place and nothing else; values with their bias."""
    family, info = model.family, model.info
    assert head.head is not None
    block = family.blocks(model.raw)[head.layer]
    _, values = family.keys_values(block, family.attention_norm(block, stream[None]))
    group = head.head * info.n_kv_heads // info.n_heads
    value = values[0, :, group * info.d_head : (group + 1) * info.d_head]
    return value @ model.w_o(head.layer)[head.head].to(value)
