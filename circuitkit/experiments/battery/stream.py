"""Students that compute what their teacher computes with the whole residual stream in another basis."""

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from circuitkit.core.errors import ModelError
from circuitkit.experiments.battery.exact import Made, same_components
from circuitkit.experiments.battery.layout import block_layouts, family_of, turn_inputs, turn_outputs, untie
from circuitkit.experiments.battery.orthogonal import mean_preserving, permutation_matrix, random_orthogonal
from circuitkit.models.affine import Affine, affine_of

_TABLES = {
    "gpt2": ("transformer.wte", "transformer.wpe"),
    "llama": ("model.embed_tokens",),
    "bert": tuple(f"bert.embeddings.{name}_embeddings" for name in ("word", "position", "token_type")),
}
_BLOCK_NORMS = {
    "gpt2": ("ln_1", "ln_2"),
    "llama": ("input_layernorm", "post_attention_layernorm"),
    "bert": ("attention.output.LayerNorm", "output.LayerNorm"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stream:
    """All that reads from the stream or writes to it.

    `norms` are in the order of `readers`; in BERT, whose norms stand on the stream itself, the norm of the
    embeddings comes first and what reads behind each norm is the same.
    """

    tables: list[nn.Module]
    norms: list[nn.Module]
    readers: list[tuple[Affine, ...]]
    writers: list[Affine]


def rotated_stream(teacher: PreTrainedModel, *, seed: int) -> Made:
    """The stream x of every layer becomes x R, R orthogonal, with what reads and writes turned along.

    The gains of the norms are first moved into what reads behind them, since they belong to coordinates. RMSNorm
    without gain commutes with every R (Llama). LayerNorm without gain takes the mean out and commutes with those
    that keep the vector of ones (GPT2).

    Raises:
        ModelError: It is a BERT: the norms' gains act on the stream that is passed on and cannot be moved, so that
            only an order of coordinates can change (`permuted_stream`); or a gain is 0 where there is a bias.
    """
    family = family_of(teacher)
    if not family.pre_norm:
        raise ModelError(
            f"The stream of a {type(teacher).__name__} cannot be rotated: its LayerNorms stand on the stream and their "
            "gains belong to coordinates; wanted a model that only reads through norms. Permute the stream instead."
        )
    raw, generator = copy.deepcopy(teacher), torch.Generator().manual_seed(seed)
    untie(raw)
    stream = _stream(raw)
    for norm, readers in zip(stream.norms, stream.readers, strict=True):
        _move_gain(norm, readers)
    draw = random_orthogonal if family.name == "llama" else mean_preserving
    _turn(stream, draw(raw.config.hidden_size, generator), norms=False)
    return Made(raw=raw, relation=same_components(teacher))


def permuted_stream(teacher: PreTrainedModel, *, seed: int) -> Made:
    """The coordinates of the stream in another order, the norms' gains and biases with them: every family can.

    Raises:
        ModelError: It is of a family that the battery does not know.
    """
    raw, generator = copy.deepcopy(teacher), torch.Generator().manual_seed(seed)
    untie(raw)
    _turn(_stream(raw), permutation_matrix(raw.config.hidden_size, generator), norms=True)
    return Made(raw=raw, relation=same_components(teacher))


def _stream(raw: PreTrainedModel) -> _Stream:
    family = family_of(raw)
    layouts = block_layouts(raw)
    norms = [block.get_submodule(path) for block in family.blocks(raw) for path in _BLOCK_NORMS[family.name]]
    readers = [part for block in layouts for part in ((block.q, block.k, block.v), block.entries)]
    if family.name == "bert":
        norms.insert(0, raw.get_submodule("bert.embeddings.LayerNorm"))
        readers.append((affine_of(raw.get_submodule("cls.predictions.transform.dense")),))
    else:
        norms.append(raw.get_submodule(cast(str, family.final_norm_path)))
        readers.append((affine_of(family.unembedding(raw)),))
    return _Stream(
        tables=[raw.get_submodule(path) for path in _TABLES[family.name]],
        norms=norms,
        readers=readers,
        writers=[affine for block in layouts for affine in (block.o, block.exit)],
    )


@torch.no_grad()
def _move_gain(norm: nn.Module, readers: tuple[Affine, ...]) -> None:
    """Make n g + b into n + b / g, and multiply by g in what reads it."""
    gain, bias = cast(Tensor, norm.weight), cast(Tensor | None, getattr(norm, "bias", None))
    if bias is not None:
        if bool(((gain == 0) & (bias != 0)).any()):
            raise ModelError(
                "A LayerNorm has a gain of 0 beside a bias, which cannot be moved into what reads it; wanted other "
                "gains. Permute the stream instead."
            )
        bias.copy_(torch.where(gain == 0, 0, bias / gain))
    for reader in readers:
        reader.weight.mul_(gain[:, None])
    gain.fill_(1)


@torch.no_grad()
def _turn(stream: _Stream, turn: Float[Tensor, "d_model d_model"], *, norms: bool) -> None:
    """Turn the whole stream; `norms` says whether gains turn too, as they do under an order of coordinates."""
    for table in stream.tables:
        weight = cast(Any, table).weight
        weight.copy_(weight.double() @ turn)
    for norm in stream.norms:
        for tensor in (norm.weight if norms else None, getattr(norm, "bias", None)):
            if isinstance(tensor, Tensor):
                tensor.copy_(tensor.double() @ turn)
    for readers in stream.readers:
        for reader in readers:
            turn_inputs(reader, turn)
    for writer in stream.writers:
        turn_outputs(writer, turn)
