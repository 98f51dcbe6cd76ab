"""Noise on the activations that are compared, without another run of the model for each draw."""

from dataclasses import dataclass, replace

import torch
from einops import einsum, reduce
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.alignment.covariance import CovarianceSum
from circuitkit.alignment.similarity.eigenvectors import eigenvector_similarity
from circuitkit.alignment.similarity.heads import output_similarity, z_similarity
from circuitkit.alignment.similarity.measure import choose_methods
from circuitkit.alignment.similarity.pattern import pattern_similarity
from circuitkit.alignment.similarity.types import HeadMethod, Similarity
from circuitkit.alignment.stream import accumulator_device, capture_rows, row_chunks
from circuitkit.alignment.summary import ActivationSummary, Need, leading_eigenvectors
from circuitkit.core.errors import OptionError
from circuitkit.experiments.noise_draws import NoiseDraw
from circuitkit.experiments.pair import PairMeasurements


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedActivations:
    """What the similarity of two models is made of, and the student's in a form that noise can be added to.

    Attributes:
        pair: The pair.
        method: How heads are compared.
        teacher: The teacher's means and directions.
        student: The student's.
        covariance: Covariance of each student MLP's outputs over all units, centred.
        mlp_means: Their mean in each row slot (position of a template group).
        slot_noise: Share of each position among the units of a slot of head values.
        row_noise: The same of the row slots.
        row_share: Share of all units that is in each row slot.
    """

    pair: PairMeasurements
    method: HeadMethod
    teacher: ActivationSummary
    student: ActivationSummary
    covariance: Float[Tensor, "layer d_model d_model"]
    mlp_means: Float[Tensor, "layer row d_model"]
    slot_noise: Float[Tensor, "slot pos"]
    row_noise: Float[Tensor, "row pos"]
    row_share: Float[Tensor, " row"]

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.slot_noise.shape[1]

    def scales(self) -> tuple[Float[Tensor, "layer head"], Float[Tensor, " layer"]]:
        """Root mean square of what is compared: of each head's mean values (or patterns), of each MLP's outputs."""
        heads = self.student.z if self.method != "pattern" else self.student.pattern
        assert heads is not None
        weight = self.student.slot_weight if self.method != "pattern" else self.student.row_weight
        share = weight / weight.sum()
        head = einsum(reduce(heads.square(), "l s h d -> l s h", "mean"), share, "l s h, s -> l h").sqrt()
        mean = einsum(self.mlp_means, self.row_share, "l r d, r -> l d")
        second = self.covariance.diagonal(dim1=1, dim2=2) + mean.square()
        return head, second.mean(1).sqrt()

    def similarity(self, noise: NoiseDraw | None, *, alone: bool = False) -> Similarity:
        """Similarities of all components with noise on the student's side.

        Args:
            noise: The noise; None for none.
            alone: The student's activations are the noise and nothing else.
        """
        student = self.student if noise is None else self._noisy(noise, alone)
        models = self.pair.teacher_model, self.pair.student_model
        match self.method:
            case "output":
                heads = output_similarity(*models, self.teacher, student)
            case "z":
                heads = z_similarity(self.teacher, student)
            case _:
                heads = pattern_similarity(self.teacher, student)
        return Similarity(
            heads=heads,
            mlps=eigenvector_similarity(self.teacher, student),
            method_heads=self.method,
            method_mlps="eigenvectors",
        )

    def _noisy(self, noise: NoiseDraw, alone: bool) -> ActivationSummary:
        changes: dict[str, Tensor] = {}
        if self.student.z is not None:
            added = einsum(self.slot_noise, noise.z, "slot pos, layer pos ... -> layer slot ...")
            changes["z"] = added if alone else self.student.z + added
        if self.student.pattern is not None:
            added = einsum(self.row_noise, noise.pattern, "row pos, layer pos ... -> layer row ...")
            changes["pattern"] = added if alone else self.student.pattern + added
        axes = torch.stack([leading_eigenvectors(c) for c in self._noisy_covariance(noise, alone)])
        return replace(self.student, **changes, mlp_axes=axes)

    def _noisy_covariance(self, noise: NoiseDraw, alone: bool) -> Float[Tensor, "layer d_model d_model"]:
        """Cov(x + e) = Cov(x) + Cov(m, e) + Cov(e, m) + Cov(e): e is one for all units of a slot, m their mean."""
        added = einsum(self.row_noise, noise.mlp, "row pos, layer pos d -> layer row d")
        centred = added - einsum(added, self.row_share, "layer row d, row -> layer d")[:, None]
        weighted = (
            centred * self.row_share[:, None]
        )  # two factors at a time: three at once take memory of width squared
        own = centred.mT @ weighted
        if alone:
            return own
        cross = self.mlp_means.mT @ weighted
        return self.covariance + cross + cross.mT + own


def has_means(pair: PairMeasurements) -> bool:
    """Whether what is compared are means and directions, to which noise can be added: CKA compares none."""
    methods = choose_methods(pair.settings.similarity, pair.teacher_model.info, pair.student_model.info)
    return "cka" not in methods[:2]


def compared_activations(pair: PairMeasurements) -> ComparedActivations:
    """Run the clean prompts of both models and keep what noise can be added to.

    Memory grows with the student's layers times the square of its width: 8 bytes each.

    Raises:
        OptionError: The similarity has no means to add noise to (CKA).
    """
    if not has_means(pair):
        raise OptionError(
            "CKA compares every activation and no mean, so there is nothing to add noise to afterwards; use --where "
            "forward, or models of one width without --similarity cka."
        )
    similarity = pair.similarity()
    head: Need = "pattern" if similarity.method_heads == "pattern" else "z"
    covariance, means, counts = _mlp_moments(pair)
    shared = pair.shared
    return ComparedActivations(
        pair=pair,
        method=similarity.method_heads,
        teacher=pair.summary("teacher", head, "mlp"),
        student=pair.summary("student", head, "mlp"),
        covariance=covariance,
        mlp_means=means,
        slot_noise=_position_shares(shared.slot),
        row_noise=_position_shares(shared.row),
        row_share=counts / counts.sum(),
    )


def _position_shares(slot: Int[Tensor, "prompt unit"]) -> Float[Tensor, "slot pos"]:
    """Of the units in each slot, the share at each position."""
    known = slot >= 0
    position = torch.arange(slot.shape[1]).expand_as(slot)
    counts = torch.zeros(int(slot.max()) + 1, slot.shape[1], dtype=torch.float64)
    counts.index_put_((slot[known], position[known]), torch.ones((), dtype=torch.float64), accumulate=True)
    return counts / counts.sum(1, keepdim=True)


def _mlp_moments(
    pair: PairMeasurements,
) -> tuple[Float[Tensor, "layer d_model d_model"], Float[Tensor, "layer row d_model"], Float[Tensor, " row"]]:
    """Covariance of each student MLP's outputs, their mean in each row slot, and the units in each."""
    model, batch, shared = pair.student_model, pair.batches[1], pair.shared
    device, layers = accumulator_device(model), range(model.info.n_layers)
    counts = torch.bincount(shared.row[shared.row >= 0]).double()
    sums = torch.zeros(len(layers), len(counts), model.info.d_model, dtype=torch.float64, device=device)
    moments = CovarianceSum(len(layers), model.info.d_model, model.info.d_model, device)
    for rows in row_chunks(model, batch, batch_size=pair.batch_size):
        found = capture_rows(model, batch, shared, rows, points=["mlp_out"], layers=layers)
        outputs = torch.stack([found.present("mlp_out", layer) for layer in layers])
        moments.add(outputs, outputs)
        sums.index_add_(1, shared.row[rows][shared.present[rows]].to(device), outputs)
        pair.progress("student MLPs", int(rows[-1]) + 1, len(batch.pairs))
    covariance = torch.stack([moments.covariance(i).cpu() for i in range(len(moments))])
    return covariance, (sums.cpu() / counts[:, None]), counts
