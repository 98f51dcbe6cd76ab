"""Previous-token, duplicate-token and induction attention on random tokens said twice: roles without any task."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.seeds import check_seed
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.encoding import encode

RepeatedRole = Literal["previous-token", "duplicate-token", "induction"]
LENGTH = 50
SHORTEST = 3
"""With two tokens, what follows a token's earlier occurrence is the token before it."""
PATTERN_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RepeatedScores:
    """Attention mass on random sequences t1 ... tn t1 ... tn.

    Attributes:
        heads: The heads, in the order of all results.
        length: n, in tokens.
        attention: Per role, in the order of `roles`: mean over the queries of a sequence of the attention on the key
            that the role reads.
    """

    heads: tuple[Component, ...]
    length: int
    attention: Float[Tensor, "role head sequence"]

    @property
    def roles(self) -> tuple[RepeatedRole, ...]:
        """The roles, in the order of `attention`."""
        return get_args(RepeatedRole)

    def scores(self, role: RepeatedRole) -> Float[Tensor, " head"]:
        """Mean over the sequences."""
        return reduce(self.attention[self.roles.index(role)], "head sequence -> head", "mean")

    def others(self, role: RepeatedRole) -> Float[Tensor, " head"]:
        """Mean score of all other heads; 0 where there are none."""
        scores = self.scores(role)
        return (scores.sum() - scores) / max(1, len(scores) - 1)

    def top(self, role: RepeatedRole, n: int) -> list[tuple[Component, float]]:
        """The n heads that do it most, with their scores."""
        values, order = self.scores(role).topk(min(n, len(self.heads)))
        return [(self.heads[i], value) for i, value in zip(order.tolist(), values.tolist(), strict=True)]


def repeated_scores(
    model: HookedModel,
    *,
    n_sequences: int = 32,
    length: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> RepeatedScores:
    """Score every head on random tokens said twice (Elhage et al. 2021; Olsson et al. 2022, the heads' definitions).

    previous-token: every token but the first reads the one before it. duplicate-token: a token of the second half reads
    itself in the first half. induction: it reads the token after that. Tokens of a sequence are all different, and none
    is a special one; around them stand the special tokens that the tokenizer puts around a text, which are no key of
    any role.

    Args:
        model: The model.
        n_sequences: Number of sequences.
        length: Tokens that are said twice; None: 50, or as many as the model and its vocabulary have room for.
        seed: Seed of the tokens.
        progress: Called as sequences are done.

    Raises:
        OptionError: There are no sequences, the length is below 3 or more than fits, or the seed is out of range.
        ModelError: The tokenizer cannot say which tokens it adds.
    """
    before, after = _frame(model)
    tokens = _ordinary(model)
    most = min((model.info.max_length - len(before) - len(after)) // 2, len(tokens))
    length = min(LENGTH, most) if length is None else length
    if not SHORTEST <= length <= most:
        raise OptionError(
            f"{length} random tokens to be said twice; {model.info.name!r} has room for {SHORTEST} to {most}."
        )
    if n_sequences < 1:
        raise OptionError(f"{n_sequences} random sequences asked for; give 1 or more.")
    ids = _sequences(tokens, before, after, n_sequences=n_sequences, length=length, seed=check_seed(seed))
    heads = tuple(component for component in model.components if component.head is not None)
    one = 4 * len(heads) * ids.shape[1] ** 2
    parts = list[Tensor]()
    for some in ids.split(max(1, PATTERN_BYTES // one)):
        patterns = model.capture(some, torch.ones_like(some, dtype=torch.bool), points={"pattern"})["pattern"]
        found = [_read(patterns[layer], len(before), length) for layer in range(model.info.n_layers)]
        parts.append(torch.cat(found, dim=1))
        progress("random sequences", sum(part.shape[2] for part in parts), n_sequences)
    return RepeatedScores(heads=heads, length=length, attention=torch.cat(parts, dim=2))


def _read(pattern: Float[Tensor, "row head query key"], start: int, length: int) -> Float[Tensor, "role head row"]:
    """The three roles' attention in one block."""
    every, second = torch.arange(1, 2 * length), torch.arange(length, 2 * length)
    places = ((every, every - 1), (second, second - length), (second, second - length + 1))
    means = [
        reduce(pattern[:, :, start + query, start + key].float(), "row head at -> head row", "mean")
        for query, key in places
    ]
    return torch.stack(means).cpu()


def _frame(model: HookedModel) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    found = encode(model.tokenizer, "a")
    first = found.special.index(False)
    last = len(found.special) - found.special[::-1].index(False)
    return list(found.ids[:first]), list(found.ids[last:])


def _ordinary(model: HookedModel) -> Int[Tensor, " token"]:
    """The tokens that texts are made of."""
    tokenizer = model.tokenizer
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return torch.tensor([i for i in range(min(len(tokenizer), model.info.vocab_size)) if i not in special])


def _sequences(
    tokens: Int[Tensor, " token"], before: list[int], after: list[int], *, n_sequences: int, length: int, seed: int
) -> Int[Tensor, "sequence pos"]:
    draw = torch.Generator().manual_seed(seed)
    rows: list[Tensor] = []
    for _ in range(n_sequences):
        said = tokens[torch.randperm(len(tokens), generator=draw)[:length]]
        rows.append(
            torch.cat([torch.tensor(before, dtype=torch.long), said, said, torch.tensor(after, dtype=torch.long)])
        )
    return torch.stack(rows)
