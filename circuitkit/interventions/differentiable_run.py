"""A run of the model of which every receiver's gradient can be asked.

The residual stream is followed in stages: stage 0 is what the embedding writes, stage 2l + 1 adds the heads of block
l, stage 2l + 2 its MLP. Each block's attention reads the stream behind an even stage, its MLP behind an odd one.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from circuitkit.interventions.rows import Rows
from circuitkit.models.affine import Affine
from circuitkit.models.attention import allowed, attend, rotate_heads
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import device_of

Stream = Float[Tensor, "row pos d_model"]
Heads = Float[Tensor, "row pos width"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DifferentiableRun:
    """What one run went through, by stage or by layer; all but `writes` is part of its graph.

    Attributes:
        streams: Residual stream behind every stage from the first on.
        writes: What every later stage added, attention's and MLP's biases included; post-LN only.
        heads: Queries, keys and values of each block, of query heads side by side and before any rotation.
        mlp_reads: The stream as each MLP reads it, before its norm.
    """

    streams: dict[int, Stream]
    writes: dict[int, Stream]
    heads: dict[int, tuple[Heads, Heads, Heads]]
    mlp_reads: dict[int, Stream]


class RunFromStage:
    """Some prompts on a model, to be run from any stage on.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts.
    """

    def __init__(self, model: HookedModel, rows: Rows) -> None:
        self.model, self.rows = model, rows
        self.blocks = model.family.blocks(model.raw)
        self.rotary = model.family.rotary(model.raw, rows.ids)
        self.may = allowed(rows.mask, is_causal=model.is_causal, first_query=0)
        self.last_stage = 2 * model.info.n_layers

    def run(self, first: int, stream: Stream) -> DifferentiableRun:
        """Run what lies behind a stage, and keep the graph.

        Args:
            first: The stage.
            stream: Residual stream behind it; the graph starts here.
        """
        run = DifferentiableRun(streams={}, writes={}, heads={}, mlp_reads={})
        with torch.enable_grad(), without_weight_gradients(self.model.raw):
            run.streams[first] = stream = stream.detach().requires_grad_()
            for stage in range(first + 1, self.last_stage + 1):
                stream = stream.to(device_of(self._block(stage)))
                write = self._attention(stage, stream, run) if stage % 2 else self._mlp(stage, stream, run)
                if not self.model.family.pre_norm:
                    run.writes[stage] = write.detach().clone()
                stream = run.streams[stage] = self.add(stage, stream, write)
        return run

    def add(self, stage: int, stream: Stream, write: Stream) -> Stream:
        """The stream behind a stage from the stream before it and what it writes, which is overwritten."""
        family = self.model.family
        return (family.mid if stage % 2 else family.close)(self._block(stage), stream, write)

    def projected(self, stage: int, z: Float[Tensor, "row pos head d_head"]) -> Stream:
        """What a block's attention writes, its bias included, from the values of its heads."""
        projection = self.model.family.out_proj(self._block(stage))
        return projection(rearrange(z, "row pos head d_head -> row pos (head d_head)"))

    def _block(self, stage: int) -> nn.Module:
        return self.blocks[(stage - 1) // 2]

    def _attention(self, stage: int, stream: Stream, run: DifferentiableRun) -> Stream:
        block, info, family = self._block(stage), self.model.info, self.model.family
        read, maps = family.attention_norm(block, stream), family.projections(block)
        q, k, v = (_applied(some, read) for some in (maps.q, maps.k, maps.v))
        k, v = (
            repeat(
                x, "row pos (kv d) -> row pos (kv shared d)", kv=info.n_kv_heads, shared=info.n_heads // info.n_kv_heads
            )
            for x in (k, v)
        )
        run.heads[(stage - 1) // 2] = q, k, v
        q, k = (rotate_heads(x, self.rotary, d_head=info.d_head) for x in (q, k))
        return self.projected(stage, attend(q, k, v, d_head=info.d_head, scaling=family.scaling(block), mask=self.may))

    def _mlp(self, stage: int, stream: Stream, run: DifferentiableRun) -> Stream:
        read = run.mlp_reads[(stage - 1) // 2] = stream.view_as(stream)  # the stream itself goes on beside the MLP
        return self.model.family.mlp_out(self._block(stage), read)


def _applied(some: Affine, read: Stream) -> Heads:
    return nn.functional.linear(read, some.weight.T, some.bias)


@contextmanager
def without_weight_gradients(raw: nn.Module) -> Generator[None]:
    """Weights stay outside the graph, which then holds no more than gradients of activations need."""
    with ExitStack() as stack:
        for parameter in [p for p in raw.parameters() if p.requires_grad]:
            stack.callback(parameter.requires_grad_)
            parameter.requires_grad_(False)
        yield
