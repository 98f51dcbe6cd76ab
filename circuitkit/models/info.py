"""Plain facts about a loaded model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a model is; `dataclasses.asdict` gives the record that results store.

    Attributes:
        name: What the user typed; for a directory or a file, its path as typed.
        family: `gpt2`, `bert`, `distilbert` or `llama`.
        n_layers: Number of transformer blocks.
        n_heads: Query heads in a block.
        n_kv_heads: Key and value heads in a block; fewer than `n_heads` under grouped-query attention.
        d_model: Width of the residual stream.
        d_head: Width of one head.
        d_mlp: Hidden width of one MLP.
        n_params: Number of parameters, tied ones counted once.
        max_length: Most tokens that a prompt may have.
        vocab_size: Number of tokens that the model has logits for.
        weights_sha256: Digest of the weights as loaded (see `circuitkit.models.weights.weights_digest`).
        revision: Commit of the hub repository; None when the model did not come from the hub.
    """

    name: str
    family: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    n_params: int
    max_length: int
    vocab_size: int
    weights_sha256: str
    revision: str | None
