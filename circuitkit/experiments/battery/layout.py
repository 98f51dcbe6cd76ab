"""Where a model keeps the matrices that a student of known relation is made from: views, to be changed in place."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from circuitkit.core.errors import ModelError
from circuitkit.models.affine import Affine, affine_of
from circuitkit.models.family import Family, Sizes
from circuitkit.models.supported import FAMILIES

_EXITS = {"gpt2": "mlp.c_proj", "bert": "output.dense", "llama": "mlp.down_proj"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockLayout:
    """The linear maps of one block; their tensors are views of its parameters.

    Attributes:
        q: To the queries, heads side by side.
        k: To the keys, key-value heads side by side.
        v: To the values, key-value heads side by side.
        o: From z, heads side by side, to the stream.
        entries: From the stream to the MLP's neurons; two where it is gated.
        exit: From the MLP's neurons to the stream.
    """

    q: Affine
    k: Affine
    v: Affine
    o: Affine
    entries: tuple[Affine, ...]
    exit: Affine


def family_of(raw: PreTrainedModel) -> Family:
    """The family of a model that the battery can change.

    Raises:
        ModelError: It is none of GPT2, BERT and Llama.
    """
    family = FAMILIES.get(type(raw).__name__)
    if family is None or family.name not in _EXITS:
        raise ModelError(
            f"The battery got a {type(raw).__name__}; wanted a GPT2LMHeadModel, BertForMaskedLM or LlamaForCausalLM. "
            "Name a teacher of one of these families."
        )
    return family


def sizes_of(raw: PreTrainedModel) -> Sizes:
    """Sizes of a model, from its configuration.

    Raises:
        ModelError: As `family_of`.
    """
    return family_of(raw).sizes(raw.config)


def block_layouts(raw: PreTrainedModel) -> tuple[BlockLayout, ...]:
    """The linear maps of every block, first to last.

    Raises:
        ModelError: As `family_of`.
    """
    family = family_of(raw)
    conv = family.name == "gpt2"  # GPT-2 keeps Conv1D weights, [input, output]
    found: list[BlockLayout] = []
    for block in family.blocks(raw):
        projections = family.projections(block)
        found.append(
            BlockLayout(
                q=projections.q,
                k=projections.k,
                v=projections.v,
                o=affine_of(family.out_proj(block), transposed=conv),
                entries=family.mlp_entries(block),
                exit=affine_of(block.get_submodule(_EXITS[family.name]), transposed=conv),
            )
        )
    return tuple(found)


def head_slice(head: int, d_head: int) -> slice:
    """Where one head lies among heads side by side."""
    return slice(head * d_head, (head + 1) * d_head)


@torch.no_grad()
def reorder_outputs(affine: Affine, order: Int[Tensor, " output"]) -> None:
    """Output i becomes what output order[i] was, in place."""
    affine.weight.copy_(affine.weight[:, order])
    if affine.bias is not None:
        affine.bias.copy_(affine.bias[order])


@torch.no_grad()
def reorder_inputs(affine: Affine, order: Int[Tensor, " input"]) -> None:
    """Input i becomes what input order[i] was, in place."""
    affine.weight.copy_(affine.weight[order])


@torch.no_grad()
def turn_outputs(affine: Affine, turn: Float[Tensor, "output output"]) -> None:
    """Write (x W + b) T where x W + b was written, in place; computed in float64."""
    affine.weight.copy_(affine.weight.double() @ turn)
    if affine.bias is not None:
        affine.bias.copy_(affine.bias.double() @ turn)


@torch.no_grad()
def turn_inputs(affine: Affine, turn: Float[Tensor, "input input"]) -> None:
    """Read x T, T orthogonal, where x was read, in place."""
    affine.weight.copy_(turn.T @ affine.weight.double())


def untie(raw: PreTrainedModel) -> None:
    """Give a model an unembedding of its own where it shares the embedding's matrix, in place."""
    unembedding = family_of(raw).unembedding(raw)
    if unembedding.weight is cast(Any, raw.get_input_embeddings()).weight:
        unembedding.weight = nn.Parameter(unembedding.weight.detach().clone())
    raw.config.tie_word_embeddings = False
