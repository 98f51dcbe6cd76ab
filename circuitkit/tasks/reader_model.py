"""What a model must have for prompts to be made into tokens for it."""

from typing import Protocol, runtime_checkable

from transformers import PreTrainedTokenizerBase


@runtime_checkable
class TakesTokens(Protocol):
    """The facts about a model that a batch depends on."""

    @property
    def max_length(self) -> int:
        """Most tokens that the model takes."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of tokens that the model knows; its tokenizer may have more."""
        ...


@runtime_checkable
class ReadsPrompts(Protocol):
    """What a model must have for prompts to be made into tokens for it; a `HookedModel` has it."""

    @property
    def is_causal(self) -> bool:
        """False for masked language models."""
        ...

    @property
    def info(self) -> TakesTokens:
        """Facts about the model."""
        ...

    tokenizer: PreTrainedTokenizerBase
