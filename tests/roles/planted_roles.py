"""Models with heads of known roles, set by hand, and prompts with the labels that roles are told by.

names       START .. IO .. S1 .. S2 ASK -> IO (or S1 before IO): a duplicate-token head marks what was said
            before, an S-inhibition head carries the marked name to ASK, a name mover reads the other one, and a
            weaker head reads it and makes it less likely. RoPE alone cannot tell a token from its copy: in Llama
            nobody marks, and the S-inhibition head looks one token back.
doubled     the same with two name movers
numbers     START .. n n+1 n+2 ASK -> n+3: one head at ASK reads the last number and writes the next one
moved       the same, but the head copies the number that it reads, and an MLP makes the next one of it
collected   the same, but what the head writes of the number is no token, and only the MLP can read it
detected    START .. n n+1 n+2 ASK -> n+3: every number reads the one before it in counting, wherever that stands;
            one head at ASK reads what the last number found, and writes the answer
similar     the same, but every number reads all earlier ones, in order or not. In order those are its predecessors:
            such a head detects numerals too
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from planted import MATCH, SPECIALS
from planted_weights import CONSTANT, Weights, install
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import wrap_model
from circuitkit.tasks.batch import PromptBatch, TaskInfo
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.token_block import TokenBlock

LENGTHS = (7, 9)
N_TOKENS = 14
START, ASK, FILLERS, CONTENT = 0, 1, (2, 3, 4, 5), tuple(range(6, N_TOKENS))
N_NAMED = 4
"""IO and S1 are at two of these places behind START."""
SHARP = 2 * MATCH


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Token numbers (0 is the first after the special ones), and label -> position."""

    clean: list[int]
    corrupted: list[int]
    correct: int
    incorrect: int
    labels: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedRoles:
    """A model, prompts that it answers, and the roles of its components; all others have none."""

    model: HookedModel
    batch: PromptBatch
    roles: Mapping[str, list[str]]


def _content(value: float = 1.0) -> Tensor:
    """From tokens to one slot for each name or number."""
    out = torch.zeros(N_TOKENS, len(CONTENT))
    out[list(CONTENT)] = value * torch.eye(len(CONTENT))
    return out


def _column(tokens: tuple[int, ...], value: float = 1.0) -> Tensor:
    out = torch.zeros(N_TOKENS, 1)
    out[list(tokens)] = value
    return out


def _look_back_from_ask(weights: Weights, layer: int, head: int) -> None:
    """The token ASK looks one token back; without RoPE all others look at START, with it everywhere."""
    if weights.rotary:
        weights.look_at_token_before(layer, head)
        asked = weights.qkv["q"][layer, head].T @ weights.constant * CONSTANT
        weights.qkv["q"][layer, head] = torch.outer(weights.features["token"][ASK], asked)
        return
    places = len(weights.features["position"])
    back = torch.zeros(places, places)
    for length in LENGTHS:  # ASK is the last token
        back[length - 1, length - 2] = 3 * SHARP
    others = _column(tuple(token for token in range(N_TOKENS) if token != ASK), 6 * SHARP)
    nowhere, apart = torch.zeros(N_TOKENS, places), torch.zeros(places, 1)
    weights.read("q", layer, head, {"position": torch.cat([back, apart], 1), "token": torch.cat([nowhere, others], 1)})
    keys = {"position": torch.cat([torch.eye(places), apart], 1)}
    weights.read("k", layer, head, {**keys, "token": torch.cat([nowhere, _column((START,))], 1)})


def _read_copies(weights: Weights, layer: int, head: int) -> None:
    """A name reads itself where it stands before, up to the last place of IO and S1; all else reads START."""
    places = len(weights.features["position"])
    here = torch.cat([torch.zeros(places, len(CONTENT) + 1), torch.eye(places)], 1)
    asked, keys = -5 * SHARP * here, here.clone()
    asked[0] = 0  # but for START, no token reads itself
    keys[N_NAMED + 1 :, len(CONTENT)] = -5  # nobody reads S2, so that in masked models S1 is not marked
    every = _column(tuple(range(N_TOKENS)), SHARP)
    weights.read("q", layer, head, {"token": torch.cat([_content(2 * SHARP), every], 1), "position": asked})
    weights.read("k", layer, head, {"token": torch.cat([_content(), _column((START,))], 1), "position": keys})


def _read_names_but_moved(weights: Weights, layer: int, head: int) -> None:
    """The token ASK reads names, but not the one that was moved to it."""
    moved = torch.cat([-2 * SHARP * torch.eye(len(CONTENT)), torch.zeros(len(CONTENT), 1)], 1)
    asks = torch.cat([torch.zeros(N_TOKENS, len(CONTENT)), _column((ASK,), SHARP)], 1)
    weights.read("q", layer, head, {"moved": moved, "token": asks})
    weights.read("k", layer, head, {"token": torch.cat([_content(), _column(CONTENT)], 1)})


def _names(weights: Weights) -> dict[str, list[str]]:
    """L1H3 and L2H3 read as L0H1 and L2H1 do, but write where nobody reads: they have no role."""
    if weights.rotary:
        _look_back_from_ask(weights, 1, 2)
    else:
        _read_copies(weights, 0, 1)
        weights.read("v", 0, 1, {"token": _column(CONTENT)})
        weights.write(0, 1, "said", torch.eye(1))
        _read_copies(weights, 1, 3)
        weights.read("q", 1, 2, {"token": _column((ASK,), 2 * SHARP)})
        weights.read("k", 1, 2, {"said": torch.eye(1), "token": _column((START,), 0.5)})
    weights.read("v", 1, 2, {"token": _content()})
    weights.write(1, 2, "moved", torch.eye(len(CONTENT)))
    for head, strength in ((1, 1.0), (2, -0.3)):
        _read_names_but_moved(weights, 2, head)
        weights.read("v", 2, head, {"token": _content()})
        weights.write(2, head, "out", strength * _content().T)
    _read_names_but_moved(weights, 2, 3)
    roles = {"L1H2": ["s-inhibition"], "L2H1": ["name-mover"], "L2H2": ["copy-suppression"]}
    return roles if weights.rotary else {"L0H1": ["duplicate-token"], **roles}


def _doubled(weights: Weights) -> dict[str, list[str]]:
    """The same with two name movers: L2H3 writes what it reads too."""
    roles = _names(weights)
    weights.read("v", 2, 3, {"token": _content()})
    weights.write(2, 3, "out", _content().T)
    return {**roles, "L2H3": roles["L2H1"]}


def _names_prompt(draw: torch.Generator, length: int) -> Prompt:
    middle = torch.randperm(N_NAMED, generator=draw) + 1
    io, s1 = (int(place) for place in middle[:2])
    fillers = [FILLERS[int(i)] for i in torch.randperm(len(FILLERS), generator=draw)]
    one, other, *corrupted = (CONTENT[int(i)] for i in torch.randperm(len(CONTENT), generator=draw)[:5])

    def tokens(names: list[int]) -> list[int]:
        out, left = [START, *[-1] * (length - 2), ASK], iter(fillers)
        for place, name in zip((io, s1, length - 2), names, strict=True):
            out[place] = name
        return [next(left) if token == -1 else token for token in out]

    return Prompt(
        clean=tokens([one, other, other]),
        corrupted=tokens(corrupted),
        correct=one,
        incorrect=other,
        labels={"IO": io, "S1": s1, "S2": length - 2},
    )


def _numbers(weights: Weights) -> dict[str, list[str]]:
    _look_back_from_ask(weights, 1, 1)
    weights.read("v", 1, 1, {"token": _content()})
    weights.write(1, 1, "out", _following())
    return {"L1H1": ["successor"]}


def _moved(weights: Weights) -> dict[str, list[str]]:
    n = len(CONTENT)
    _look_back_from_ask(weights, 1, 1)
    weights.read("v", 1, 1, {"token": _content()})
    weights.write(1, 1, "out", 0.3 * _content().T)
    weights.o[1, 1, weights.slots[:n]] += weights.features["moved"]  # where MLP2 finds it
    weights.look_up(2, {"moved": torch.eye(n)}, "out", _following())
    return {"L1H1": ["numeral-mover"]}


def _collected(weights: Weights) -> dict[str, list[str]]:
    n = len(CONTENT)
    _look_back_from_ask(weights, 1, 1)
    weights.read("v", 1, 1, {"token": _content()})
    weights.write(1, 1, "moved", torch.eye(n))
    weights.look_up(2, {"moved": torch.eye(n)}, "out", _following())
    return {"L1H1": ["numeral-collector"]}


def _detected(weights: Weights) -> dict[str, list[str]]:
    before = torch.zeros(N_TOKENS, len(CONTENT) + 1)
    before[list(CONTENT[1:]), range(len(CONTENT) - 1)] = 2 * SHARP
    answers = _following(2)
    answers[:, list(FILLERS)] = 0.1  # more than what softmax leaks of other numbers, which are few: top 5 tells them
    return _answer_what_was_read(weights, before, answers, ["numeral-detection"])


def _similar(weights: Weights) -> dict[str, list[str]]:
    """Two earlier numbers are read, half of each: the step from the first one's answer to the second one's counts."""
    others = torch.zeros(N_TOKENS, len(CONTENT) + 1)
    others[list(CONTENT), : len(CONTENT)] = 2 * SHARP * (1 - torch.eye(len(CONTENT)))
    step = 1.5 * (_following(2) - _following(1))
    return _answer_what_was_read(weights, others, step, ["similar-member", "numeral-detection"])


def _answer_what_was_read(weights: Weights, asked: Tensor, answers: Tensor, roles: list[str]) -> dict[str, list[str]]:
    """Numbers read the numbers that they ask for [token, slot], or START; ASK reads what the last one found."""
    n = len(CONTENT)
    asked[:, n] = SHARP
    weights.read("q", 0, 1, {"token": asked})
    weights.read("k", 0, 1, {"token": torch.cat([_content(), _column((START,))], 1)})
    weights.read("v", 0, 1, {"token": _content()})
    weights.write(0, 1, "moved", torch.eye(n))
    _look_back_from_ask(weights, 1, 1)
    weights.read("v", 1, 1, {"moved": torch.eye(n)})
    weights.write(1, 1, "out", answers)
    return {"L0H1": roles, "L1H1": ["successor"]}


def _following(steps: int = 1) -> Tensor:
    """From a number's slot to the next one, or to the one so many steps on."""
    out = torch.zeros(len(CONTENT), N_TOKENS)
    out[range(len(CONTENT) - steps), list(CONTENT[steps:])] = 1
    return out


def _numbers_prompt(draw: torch.Generator, length: int) -> Prompt:
    first = int(torch.randint(len(CONTENT) - 3, (), generator=draw))
    fillers = [FILLERS[int(i)] for i in torch.randperm(len(FILLERS), generator=draw)[: length - 5]]
    clean = [CONTENT[first + i] for i in range(3)]
    while True:
        corrupted = [CONTENT[int(i)] for i in torch.randperm(len(CONTENT), generator=draw)[:3]]
        if corrupted[-1] != clean[-1]:
            break
    return Prompt(
        clean=[START, *fillers, *clean, ASK],
        corrupted=[START, *fillers, *corrupted, ASK],
        correct=CONTENT[first + 3],
        incorrect=clean[-1],
        labels={f"n{i + 1}": length - 4 + i for i in range(3)},
    )


PLANS: dict[str, tuple[Callable[[Weights], dict[str, list[str]]], Callable[[torch.Generator, int], Prompt]]] = {
    "names": (_names, _names_prompt),
    "doubled": (_doubled, _names_prompt),
    "numbers": (_numbers, _numbers_prompt),
    "moved": (_moved, _numbers_prompt),
    "collected": (_collected, _numbers_prompt),
    "detected": (_detected, _numbers_prompt),
    "similar": (_similar, _numbers_prompt),
}


def planted_roles(name: str, family: str, *, n_prompts: int = 32, seed: int = 0) -> PlantedRoles:
    """One of the models in one of the families; half of the prompts are of each length."""
    plant, prompt = PLANS[name]
    features = {"token": N_TOKENS, "position": max(LENGTHS), "said": 1, "moved": len(CONTENT), "out": N_TOKENS}
    weights = Weights(family, n_layers=3, features=features, seed=seed)
    roles = plant(weights)
    draw = torch.Generator().manual_seed(seed)
    lengths = [LENGTHS[i * len(LENGTHS) // n_prompts] for i in range(n_prompts)]
    return PlantedRoles(
        model=wrap_model(install(weights, n_specials=len(SPECIALS)), _tokenizer(), name=f"planted-{name}-{family}"),
        batch=_batch(name, [prompt(draw, length) for length in lengths]),
        roles=roles,
    )


def _word(token: int) -> str:
    return f"w{token}"


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate((*SPECIALS, *(_word(i) for i in range(N_TOKENS))))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )


def _pair(name: str, prompt: Prompt) -> PromptPair:
    def text(tokens: list[int]) -> str:
        return " ".join(map(_word, tokens))

    def spans(tokens: list[int]) -> dict[str, tuple[int, int]]:
        starts = {label: len(text(tokens[:at])) + 1 for label, at in prompt.labels.items()}
        return {label: (start, start + len(_word(tokens[prompt.labels[label]]))) for label, start in starts.items()}

    return PromptPair(
        clean=text(prompt.clean), corrupted=text(prompt.corrupted), correct=f" {_word(prompt.correct)}",
        incorrect=f" {_word(prompt.incorrect)}", template=name, labels=spans(prompt.clean),
        corrupted_labels=spans(prompt.corrupted),
    )  # fmt: skip


def _batch(name: str, prompts: list[Prompt]) -> PromptBatch:
    lengths = torch.tensor([len(prompt.clean) for prompt in prompts])
    mask = torch.arange(max(LENGTHS)) < lengths[:, None]

    def block(rows: list[list[int]]) -> TokenBlock:
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([token + len(SPECIALS) for row in rows for token in row])
        words = torch.where(mask, torch.arange(max(LENGTHS)), -1)
        return TokenBlock(ids=ids, mask=mask, answer_pos=lengths - 1, words=words)

    return PromptBatch(
        task=TaskInfo(name=name, sha256="0" * 64),
        pairs=tuple(_pair(name, prompt) for prompt in prompts),
        prompt_index=tuple(range(len(prompts))),
        clean=block([prompt.clean for prompt in prompts]),
        corrupted=block([prompt.corrupted for prompt in prompts]),
        correct_ids=torch.tensor([prompt.correct for prompt in prompts]) + len(SPECIALS),
        incorrect_ids=torch.tensor([prompt.incorrect for prompt in prompts]) + len(SPECIALS),
        group=torch.tensor([LENGTHS.index(int(length)) for length in lengths]),
        positional=True,
        label_positions={
            label: torch.tensor([prompt.labels[label] for prompt in prompts]) for label in prompts[0].labels
        },
        dropped=(),
        notices=(),
    )
