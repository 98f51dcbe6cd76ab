"""Text to token ids, with the place of every token in the text."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from circuitkit.core.errors import ModelError
from circuitkit.tasks.prompt import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """A tokenised text.

    Attributes:
        ids: Token ids, with the special tokens that the tokenizer adds.
        offsets: Character span of every token; a leading space may or may not be part of it.
        special: Whether the tokenizer added the token ([CLS], [SEP], BOS, EOS).
    """

    ids: tuple[int, ...]
    offsets: tuple[Span, ...]
    special: tuple[bool, ...]


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoding:
    """Tokenise as the tokenizer does it by itself.

    Raises:
        ModelError: The tokenizer cannot say where its tokens are in the text.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"Tokenizer {type(tokenizer).__name__} gives no character offsets; wanted a fast tokenizer. "
            f"Put a tokenizer.json beside the model."
        )
    found = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
    return Encoding(
        ids=tuple(found["input_ids"]),
        offsets=tuple((start, end) for start, end in found["offset_mapping"]),
        special=tuple(bool(flag) for flag in found["special_tokens_mask"]),
    )


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding token, or 0 for a tokenizer without one: padding is masked, so it only must be a valid id."""
    found = tokenizer.pad_token_id
    return found if isinstance(found, int) else 0
