"""What every role is judged with: model, prompts, options, and what is measured once for all roles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.progress import Progress
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.attention_to import RoleAttention
from circuitkit.roles.evidence import Floors, Interval, intervals
from circuitkit.roles.head_writes import WriteTop
from circuitkit.roles.places import Places
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """A model with its prompts, and all that roles are judged by.

    Attributes:
        model: The model.
        batch: The prompts.
        heads: All heads, layer by layer.
        clean: The model's logit difference.
        causal: Whether patching can be done and read; if not, nothing can be claimed.
        random: The same model's reading of random text, for roles that are about tokens; None where there is none.
        written: The top tokens of what heads write at the answer position.
        floors: What evidence must exceed.
        n_draws: Bootstrap draws; 0 for no intervals.
        seed: Seed of the draws and of the choice of other heads.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        key: Digest of model, prompts and versions, for the shards' names.
        progress: Called as the work advances.
    """

    model: HookedModel
    batch: PromptBatch
    heads: Sequence[Component]
    clean: Float[Tensor, " prompt"]
    causal: bool
    random: Mapping[str, RoleAttention] | None
    written: WriteTop
    floors: Floors
    n_draws: int
    seed: int
    batch_size: BatchSize
    resume: Path | None
    key: str
    progress: Progress

    def store(self, *parts: str | Sequence[str]) -> ShardStore | None:
        """Where the shards of one measurement, named by its parts, are kept; None if nothing is."""
        return None if self.resume is None else ShardStore(self.resume, digest([self.key, *parts]))

    def interval(self, where: Places) -> Interval:
        """Intervals of means over the prompts that have some places."""
        return intervals(int(where.defined.sum()), n_draws=self.n_draws, seed=self.seed)
