"""Read activations off a raw model by forward hooks."""

from collections.abc import Collection, Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from circuitkit.models.family import Family

if TYPE_CHECKING:
    import transformers

Point = Literal["resid_pre", "resid_post", "z", "attn_out", "mlp_out", "pattern"]


@torch.no_grad()
def capture(
    raw: "transformers.PreTrainedModel",
    family: Family,
    ids: Int[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
    *,
    points: Collection[Point],
    layers: Collection[int],
    n_heads: int,
) -> dict[Point, dict[int, Float[Tensor, "row ..."]]]:
    """Run the blocks once and keep what passes the asked points of the asked layers.

    Args:
        raw: The model; for `pattern` its attention must be eager, for only then is there a pattern to read.
        family: Layout of `raw`.
        ids: Tokens, on the model's device.
        mask: True at real tokens.
        points: Which activations; see `HookedModel.capture`.
        layers: Which blocks.
        n_heads: Query heads in a block, to split z.

    Returns:
        point -> layer -> activation.
    """
    kept: dict[Point, dict[int, Tensor]] = {point: {} for point in points}
    with _hooks(raw, family, kept, layers):
        family.hidden(raw, ids, mask)
    if "z" in kept:
        kept["z"] = {
            layer: rearrange(z, "row pos (head d_head) -> row pos head d_head", head=n_heads)
            for layer, z in kept["z"].items()
        }
    return kept


@contextmanager
def _hooks(
    raw: nn.Module, family: Family, kept: dict[Point, dict[int, Tensor]], layers: Collection[int]
) -> Generator[None]:
    """Place the hooks that fill `kept`; they are gone when the context ends, however it ends."""
    with ExitStack() as stack:
        blocks = family.blocks(raw)
        for layer in sorted(layers):
            block = blocks[layer]
            for point, store in kept.items():
                stack.callback(_place(family, block, point, store, layer).remove)
        yield


def _place(
    family: Family, block: nn.Module, point: Point, store: dict[int, Tensor], layer: int
) -> torch.utils.hooks.RemovableHandle:
    def keep_first_input(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        store[layer] = cast(Tensor, args[0] if args else kwargs["hidden_states"])

    def keep_output(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        store[layer] = output

    def keep_pattern(_module: nn.Module, _args: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        store[layer] = output[1]

    match point:
        case "resid_pre":
            return block.register_forward_pre_hook(keep_first_input, with_kwargs=True)
        case "resid_post":
            return block.register_forward_hook(keep_output)
        case "z":
            return family.out_proj(block).register_forward_pre_hook(keep_first_input, with_kwargs=True)
        case "attn_out":
            return family.out_proj(block).register_forward_hook(keep_output)
        case "mlp_out":
            return family.mlp(block).register_forward_hook(keep_output)
        case "pattern":
            return family.attention(block).register_forward_hook(keep_pattern)
