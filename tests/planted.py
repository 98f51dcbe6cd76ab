"""Models whose circuit is known because their weights are set by hand; real Hugging Face modules of every family.

The residual stream is divided into features: orthogonal directions, all orthogonal to the mean. A planted component
reads some features and writes others; every other component reads everything and writes where nobody but its like
reads ("junk"), writes the same whatever it reads, or writes nothing. Every token also writes a large constant, so that
norms divide by what is nearly a constant: they are as good as linear, also where they follow the additions.

Three circuits, in all families:

    induction   ... A B ... A -> B: one head copies the token before, a second one looks for what followed A before
    shared      the same, but two heads share the second step, unequally
    retrieval   a red and a blue item, and a last token that asks for one: MLPs translate the items, a head picks one
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from edge_sets import edge
from planted_weights import Weights, install
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuitkit.core.component import Component
from circuitkit.core.edge import Edge
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import wrap_model
from circuitkit.tasks.batch import PromptBatch, TaskInfo
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.token_block import TokenBlock

SPECIALS = ("[PAD]", "[UNK]", "[MASK]")
LENGTHS = (7, 9)
MATCH = 6.0
"""Attention score of a match above a mismatch: sharp, but not so sharp that gradients vanish."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """A model, prompts that it answers, and the circuit that does it."""

    model: HookedModel
    batch: PromptBatch
    nodes: frozenset[Component]
    edges: frozenset[Edge]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """Token numbers (0 is the first after the special ones)."""

    clean: list[int]
    corrupted: list[int]
    correct: int
    incorrect: int


def _items(n: int) -> Tensor:
    return torch.eye(n)


def _induction(weights: Weights) -> tuple[str, ...]:
    """L0H1 copies the token before; L1H2 asks with the current token for it and copies what stands there."""
    n = weights.n_tokens
    weights.look_at_token_before(0, 1)
    weights.read("v", 0, 1, {"token": _items(n)})
    weights.write(0, 1, "before", _items(n))
    weights.read("q", 1, 2, {"token": _items(n) * MATCH})
    weights.read("k", 1, 2, {"before": _items(n)})
    weights.read("v", 1, 2, {"token": _items(n)})
    weights.write(1, 2, "out", _items(n))
    return ("embed->L0H1.v", "embed->L1H2.q", "L0H1->L1H2.k", "embed->L1H2.v", "L1H2->logits")


def _shared_induction(weights: Weights) -> tuple[str, ...]:
    """The second step by L1H2 (60 %) and L1H3 (40 %), which share keys and values where queries are grouped."""
    found = [*_induction(weights)]
    n = weights.n_tokens
    weights.write(1, 2, "out", 0.6 * _items(n))
    weights.read("q", 1, 3, {"token": _items(n) * MATCH})
    weights.read("k", 1, 3, {"before": _items(n)})
    weights.read("v", 1, 3, {"token": _items(n)})
    weights.write(1, 3, "out", 0.4 * _items(n))
    return (*found, *(text.replace("L1H2", "L1H3") for text in found[1:]))


def _induction_prompt(draw: torch.Generator, n_tokens: int, length: int) -> Prompt:
    def one() -> tuple[list[int], int]:
        tokens = torch.randperm(n_tokens, generator=draw)[: length - 1].tolist()
        at = int(torch.randint(1, length - 2, (), generator=draw))
        return [*tokens, tokens[at]], at

    (clean, at), (corrupted, _) = one(), one()
    others = [token for i, token in enumerate(clean[:-1]) if i not in (at, at + 1)]
    incorrect = others[int(torch.randint(len(others), (), generator=draw))]
    return Prompt(clean=clean, corrupted=corrupted, correct=clean[at + 1], incorrect=incorrect)


N_ITEMS = 12
RED, BLUE = range(6), range(6, N_ITEMS)
ASK, FILLER = (12, 13), (14, 15)
TRANSLATED = torch.tensor([5, 8, 0, 11, 3, 9, 1, 6, 10, 2, 7, 4])
ANSWERED = torch.tensor([3, 7, 11, 0, 9, 1, 8, 4, 10, 6, 2, 5])


def _retrieval(weights: Weights) -> tuple[str, ...]:
    """MLP0 translates items, L1H1 fetches the translation of the item asked for, MLP2 translates it again."""
    asks, has = torch.zeros(weights.n_tokens, 2), torch.zeros(weights.n_tokens, 2)
    asks[ASK, (0, 1)] = MATCH
    has[list(RED), 0] = has[list(BLUE), 1] = 1
    items = torch.eye(weights.n_tokens)[:, :N_ITEMS]
    weights.look_up(0, {"token": items}, "code", _items(N_ITEMS)[TRANSLATED])
    weights.read("q", 1, 1, {"token": asks})
    weights.read("k", 1, 1, {"token": has})
    weights.read("v", 1, 1, {"code": _items(N_ITEMS)})
    weights.write(1, 1, "found", _items(N_ITEMS))
    answers = torch.zeros(N_ITEMS, weights.n_tokens)
    answers[torch.arange(N_ITEMS), ANSWERED] = 1
    weights.look_up(2, {"found": _items(N_ITEMS)}, "out", answers)
    return ("embed->MLP0", "embed->L1H1.q", "embed->L1H1.k", "MLP0->L1H1.v", "L1H1->MLP2", "MLP2->logits")


def _retrieval_prompt(draw: torch.Generator, n_tokens: int, length: int) -> Prompt:
    def one(ask: int) -> tuple[list[int], list[int]]:
        found = [int(torch.randint(6, (), generator=draw)) + colour for colour in (0, 6)]
        tokens = [FILLER[int(i)] for i in torch.randint(2, (length - 1,), generator=draw)]
        places = torch.randperm(length - 1, generator=draw)[:2].tolist()
        for place, item in zip(places, found, strict=True):
            tokens[place] = item
        return [*tokens, ASK[ask]], found

    ask = int(torch.randint(2, (), generator=draw))
    (clean, found), (corrupted, _) = one(ask), one(1 - ask)
    answers = ANSWERED[TRANSLATED[found]].tolist()
    return Prompt(clean=clean, corrupted=corrupted, correct=answers[ask], incorrect=answers[1 - ask])


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What is planted: features with their sizes, who reads and writes them, and the prompts."""

    n_layers: int
    features: Mapping[str, int]
    plant: Callable[[Weights], tuple[str, ...]]
    prompt: Callable[[torch.Generator, int, int], Prompt]


PLANS = {
    "induction": Plan(
        n_layers=2,
        features={"token": 14, "position": 9, "before": 14, "out": 14},
        plant=_induction,
        prompt=_induction_prompt,
    ),
    "shared": Plan(
        n_layers=2,
        features={"token": 14, "position": 9, "before": 14, "out": 14},
        plant=_shared_induction,
        prompt=_induction_prompt,
    ),
    "retrieval": Plan(
        n_layers=3,
        features={"token": 16, "position": 9, "code": N_ITEMS, "found": N_ITEMS, "out": 16},
        plant=_retrieval,
        prompt=_retrieval_prompt,
    ),
}


def planted(name: str, family: str, *, n_prompts: int = 24, seed: int = 0) -> Planted:
    """One of the planted circuits in one of the families; half of the prompts are of each length."""
    plan = PLANS[name]
    weights = Weights(family, n_layers=plan.n_layers, features=plan.features, seed=seed)
    texts = plan.plant(weights)
    edges = frozenset(edge(text) for text in texts)
    ends = {end for one in edges for end in (one.sender.component, one.receiver.component)}
    tokenizer = _tokenizer(weights.n_tokens)
    return Planted(
        model=wrap_model(install(weights, n_specials=len(SPECIALS)), tokenizer, name=f"planted-{name}-{family}"),
        batch=_batch(name, plan, weights.n_tokens, n_prompts=n_prompts, seed=seed),
        nodes=frozenset(component for component in ends if component is not None),
        edges=edges,
    )


def _tokenizer(n_tokens: int) -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate((*SPECIALS, *(f"w{i}" for i in range(n_tokens))))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )


def _batch(name: str, plan: Plan, n_tokens: int, *, n_prompts: int, seed: int) -> PromptBatch:
    draw = torch.Generator().manual_seed(seed)
    lengths = [LENGTHS[i * len(LENGTHS) // n_prompts] for i in range(n_prompts)]
    prompts = [plan.prompt(draw, n_tokens, length) for length in lengths]

    def block(rows: list[list[int]]) -> TokenBlock:
        mask = torch.arange(max(LENGTHS)) < torch.tensor(lengths)[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([token + len(SPECIALS) for row in rows for token in row])
        words = torch.where(mask, torch.arange(max(LENGTHS)), -1)
        return TokenBlock(ids=ids, mask=mask, answer_pos=torch.tensor(lengths) - 1, words=words)

    def text(tokens: list[int]) -> str:
        return " ".join(f"w{token}" for token in tokens)

    return PromptBatch(
        task=TaskInfo(name=name, sha256="0" * 64),
        pairs=tuple(
            PromptPair(
                clean=text(p.clean), corrupted=text(p.corrupted), correct=f" w{p.correct}",
                incorrect=f" w{p.incorrect}", template=name, labels={}, corrupted_labels={},
            )
            for p in prompts
        ),
        prompt_index=tuple(range(n_prompts)),
        clean=block([p.clean for p in prompts]),
        corrupted=block([p.corrupted for p in prompts]),
        correct_ids=torch.tensor([p.correct for p in prompts]) + len(SPECIALS),
        incorrect_ids=torch.tensor([p.incorrect for p in prompts]) + len(SPECIALS),
        group=torch.tensor([LENGTHS.index(length) for length in lengths]),
        positional=True,
        label_positions={},
        dropped=(),
        notices=(),
    )  # fmt: skip
