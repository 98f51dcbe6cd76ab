"""Small tokenizers of the three kinds that the embedded models need, made from a list of words and some text."""

import json
import re
import string
from collections.abc import Iterable, Sequence
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TokenizerKind = Literal["gpt2", "bert", "llama"]

N_MERGES = 250
_DIGITS = string.digits
_LONG_NUMBER = re.compile(r"Ġ?\d{3,}")
# Meta's Llama 3 pattern, but digits in groups of two: a year is then a century and a two-digit rest, as in GPT-2.
_LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIALS = {
    "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
    "bert": {
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    },
    "llama": {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|pad|>"},
}  # fmt: skip


def build_tokenizer(
    kind: TokenizerKind, *, texts: Sequence[str], words: Iterable[str], max_length: int
) -> PreTrainedTokenizerFast:
    """Make a tokenizer in which every word of `texts` is one token, as it stands there.

    The words enter the vocabulary whole, as Llama 3's `ignore_merges` allows; anything else falls back on merges
    learned from the texts and on single bytes, or for the WordPiece on single ASCII characters. Numbers of more
    than two digits are cut into pieces of two, but those that `words` names stay whole (years only in `bert`).

    Args:
        kind: `gpt2` (byte-level BPE, adds nothing), `llama` (byte-level BPE in Llama 3's style, adds a beginning of
            text) or `bert` (lower-case WordPiece, adds `[CLS]` and `[SEP]`).
        texts: Text whose words become tokens and from which merges are learned.
        words: Words that must be one token too, after a space.
        max_length: Most tokens that the model can read.
    """
    backend = _wordpiece(texts, words) if kind == "bert" else _byte_bpe(kind, texts, words)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        **_SPECIALS[kind],
    )


def _byte_bpe(kind: TokenizerKind, texts: Sequence[str], words: Iterable[str]) -> Tokenizer:
    merges = _digit_merges() + _learned_merges(texts)
    split = _byte_splitter(kind)
    tokens = [*_SPECIALS[kind].values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += ["".join(pair) for pair in merges]
    tokens += _words_of(split, texts)
    short = [f" {word}" for word in words if not (word.isdigit() and len(word) > 3)]
    tokens += [token for word in short for token, _ in split.pre_tokenize_str(word)]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.add_special_tokens(list(_SPECIALS[kind].values()))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    offsets = processors.ByteLevel(trim_offsets=False)
    tokenizer.post_processor = offsets
    if kind == "llama":
        bos = _SPECIALS[kind]["bos_token"]
        start = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, vocabulary[bos])]
        )
        tokenizer.post_processor = processors.Sequence([offsets, start])
    return tokenizer


def _byte_splitter(kind: TokenizerKind) -> pre_tokenizers.PreTokenizer:
    if kind == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _words_of(split: pre_tokenizers.PreTokenizer, texts: Iterable[str]) -> list[str]:
    """Every word that the texts hold, numbers of more than two digits left out."""
    found = {word for text in texts for word, _ in split.pre_tokenize_str(text)}
    return sorted(word for word in found if not _LONG_NUMBER.fullmatch(word))


def _digit_merges() -> list[tuple[str, str]]:
    """Merges that split ` 1732` into ` 17` and `32`: two digits join the space before any others join."""
    spaced = [("Ġ", digit) for digit in _DIGITS]
    tens = [(f"Ġ{ten}", one) for ten in _DIGITS for one in _DIGITS]
    return spaced + tens + [(ten, one) for ten in _DIGITS for one in _DIGITS]


def _learned_merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(Regex(r"\p{N}"), "")  # digits have merges of their own
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + N_MERGES, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]


def _wordpiece(texts: Sequence[str], words: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    characters = [c for c in string.printable if c.isprintable() and not c.isspace() and not c.isupper()]
    pieces = characters + [ten + one for ten in _DIGITS for one in _DIGITS]
    specials = list(_SPECIALS["bert"].values())
    tokens = [*specials, *pieces, *(f"##{piece}" for piece in pieces), *(word.lower() for word in words)]
    tokens += _words_of(tokenizer.pre_tokenizer, [text.lower() for text in texts])
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer.model = models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer.add_special_tokens(specials)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer
