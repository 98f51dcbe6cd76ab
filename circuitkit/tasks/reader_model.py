"""What a model must have for prompts to be made into tokens for it."""

from typing import Protocol, runtime_checkable

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


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


def read_alike(one: ReadsPrompts, other: ReadsPrompts) -> bool:
    """Whether it is plain that two models make the same tokens of every text, and keep and drop the same prompts."""
    facts = [(m.is_causal, m.info.max_length, m.info.vocab_size) for m in (one, other)]
    return facts[0] == facts[1] and _same_tokenizer(one.tokenizer, other.tokenizer)


def _same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    if one is other:
        return True
    if not isinstance(one, PreTrainedTokenizerFast) or not isinstance(other, PreTrainedTokenizerFast):
        return False
    said = [(type(t), t.mask_token, t.unk_token, t.split_special_tokens) for t in (one, other)]
    return said[0] == said[1] and one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
