"""Linear centred kernel alignment of two models' activations on the same prompts and positions: `cka`.

Kornblith et al. 2019 (arXiv 1905.00414): CKA(X, Y) = |Y'X|^2 / (|X'X| |Y'Y|) for centred X, Y and Frobenius
norms. It is defined between widths that differ. Only covariances are kept. A head's write o = z W_O is
compared through z R', where W_O' = Q R with orthonormal Q: the same inner products in fewer numbers.
"""

from collections.abc import Callable
from typing import Literal

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.alignment.covariance import CovarianceSum
from circuitkit.alignment.positions import SharedPositions
from circuitkit.alignment.similarity.heads import cosine_from_products
from circuitkit.alignment.stream import (
    accumulator_device,
    capture_rows,
    layer_chunks,
    row_chunks,
)
from circuitkit.core.progress import Progress, silent
from circuitkit.models.capture import Point
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

Kind = Literal["head", "mlp"]
Batches = tuple[PromptBatch, PromptBatch]


def cka_similarity(
    models: tuple[HookedModel, HookedModel],
    batches: Batches,
    shared: SharedPositions,
    *,
    kind: Kind,
    batch_size: int | Literal["auto"] = "auto",
    progress: Progress = silent,
) -> Float[Tensor, "teacher_component student_component"]:
    """CKA of every teacher head (MLP) with every student head (MLP) over all shared units of all prompts.

    The products of all layers of both models may not fit in memory together; the layers are then taken in
    blocks, at the price of one more pass of both models for each pair of blocks. 0 where a component does
    not vary.

    Args:
        models: The teacher and the student.
        batches: The same prompts for either of them.
        shared: Positions shared by both.
        kind: Heads are compared by their write o_c = z_c W_O (no bias), MLPs by their output.
        batch_size: Prompts run at a time, at most.
        progress: Called as prompts are done; a unit is one prompt run on one model.
    """
    sides = [_Side(model, batch, shared, kind) for model, batch in zip(models, batches, strict=True)]
    chunks = list(row_chunks(models[0], batches[0], batch_size=batch_size))
    own = [side.layer_chunks() for side in sides]
    blocks = _layer_blocks(*sides)
    done, total = 0, sum(map(len, own)) + 2 * len(blocks)

    def advance(passes: int) -> None:
        nonlocal done
        done += passes
        progress(f"{kind} similarity", done * len(shared.present), total * len(shared.present))

    squares = [
        torch.cat([_own_square(side, layers, chunks, advance) for layers in passes])
        for side, passes in zip(sides, own, strict=True)
    ]
    products = torch.zeros(len(squares[0]), len(squares[1]), dtype=torch.float64)
    for layers_t, layers_s in blocks:
        at = sides[0].components(layers_t), sides[1].components(layers_s)
        products[at] = _cross_square(sides, (layers_t, layers_s), chunks)
        advance(2)
    return cosine_from_products(products, *squares)


class _Side:
    """One model and its prompts, as a source of features [component, unit, width]."""

    def __init__(self, model: HookedModel, batch: PromptBatch, shared: SharedPositions, kind: Kind) -> None:
        self.model, self.batch, self.shared, self.kind = model, batch, shared, kind
        self.device = accumulator_device(model)
        self.per_layer = model.info.n_heads if kind == "head" else 1
        self.width = model.info.d_head if kind == "head" else model.info.d_model
        self.reduced: dict[int, Tensor] = {}
        if kind == "head":
            for layer in range(model.info.n_layers):
                w_o = model.w_o(layer).to(self.device).double()
                self.reduced[layer] = torch.linalg.qr(w_o.mT, mode="r").R.mT

    def components(self, layers: range) -> slice:
        return slice(layers.start * self.per_layer, layers.stop * self.per_layer)

    def layer_chunks(self) -> list[range]:
        return layer_chunks(self.model.info.n_layers, bytes_per_layer=8 * self.per_layer * self.width**2)

    def features(self, rows: Int[Tensor, " row"], layers: range) -> Float[Tensor, "component unit width"]:
        point: Point = "z" if self.kind == "head" else "mlp_out"
        captured = capture_rows(self.model, self.batch, self.shared, rows, points=[point], layers=layers)
        out: list[Tensor] = []
        for layer in layers:
            x = captured.present(point, layer)
            if self.kind == "mlp":
                out.append(rearrange(x, "unit width -> 1 unit width"))
            else:
                out.append(rearrange(x, "unit head d_head -> head unit d_head") @ self.reduced[layer])
        return torch.cat(out)


def _layer_blocks(teacher: _Side, student: _Side) -> list[tuple[range, range]]:
    """Pairs of layer ranges whose products fit in memory together."""
    widths = [side.per_layer * side.width for side in (teacher, student)]
    n_t, n_s = teacher.model.info.n_layers, student.model.info.n_layers
    pair = 8 * widths[0] * widths[1]
    students = layer_chunks(n_s, bytes_per_layer=pair)
    teachers = layer_chunks(n_t, bytes_per_layer=pair * len(students[0]))
    return [(t, s) for t in teachers for s in students]


def _own_square(
    side: _Side, layers: range, chunks: list[Int[Tensor, " _"]], advance: Callable[[int], None]
) -> Float[Tensor, " component"]:
    """|X'X|^2 of the components of some layers."""
    total = CovarianceSum(len(layers) * side.per_layer, side.width, side.width, side.device)
    for rows in chunks:
        x = side.features(rows, layers)
        total.add(x, x)
    advance(1)
    return torch.stack([total.covariance(i).square().sum() for i in range(len(total))]).cpu()


def _cross_square(
    sides: list[_Side], layers: tuple[range, range], chunks: list[Int[Tensor, " _"]]
) -> Float[Tensor, "teacher_component student_component"]:
    """|Y'X|^2 of all pairs of components of some layers of both models."""
    t, s = sides
    n_t, n_s = len(layers[0]) * t.per_layer, len(layers[1]) * s.per_layer
    total = CovarianceSum(1, n_t * t.width, n_s * s.width, t.device)
    for rows in chunks:
        x, y = (
            rearrange(side.features(rows, chosen), "component unit width -> 1 unit (component width)")
            for side, chosen in zip(sides, layers, strict=True)
        )
        total.add(x, y.to(t.device))
    out: list[Tensor] = []
    for i in range(n_t):
        one = total.covariance(0, slice(i * t.width, (i + 1) * t.width))
        out.append(reduce(one.square(), "a (s b) -> s", "sum", s=n_s))
    return torch.stack(out).cpu()
