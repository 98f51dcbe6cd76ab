"""Real tokenizers of every kind that matters here, trained on the text of the tasks so that words are one token."""

from dataclasses import dataclass
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from circuitkit.tasks.loading import available_tasks, load_task

# The pattern of Llama 3: a space is no part of a number, and up to three digits are one piece.
LLAMA3 = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Info:
    max_length: int
    vocab_size: int = 100_000


@dataclass(frozen=True)
class Reads:
    """The part of a model that a batch depends on."""

    tokenizer: PreTrainedTokenizerBase
    is_causal: bool = True
    info: Info = Info(128)


@cache
def corpus() -> tuple[str, ...]:
    lines: list[str] = []
    for name in available_tasks():
        for pair in load_task(name).pairs(400, seed=7):
            lines += [pair.clean + pair.correct, pair.clean + pair.incorrect, pair.corrupted or ""]
    return tuple(lines)


def _bpe(pre_tokenizer: pre_tokenizers.PreTokenizer, specials: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


@cache
def gpt2_like(vocab_size: int = 6000, trim_offsets: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE; nothing is added; no padding token. A small vocabulary splits words."""
    tokenizer = _bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"], vocab_size)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end)


@cache
def llama3_like(template: str = "<s> $A") -> PreTrainedTokenizerFast:
    """ " 5" becomes a space and a digit; `template` adds BOS, EOS or both."""
    split = pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = _bpe(pre_tokenizers.Sequence([split, byte_level]), ["<s>", "</s>"], 6000)
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


@cache
def bert_like(mask_token: str = "[MASK]") -> PreTrainedTokenizerFast:
    """Uncased WordPiece with [CLS] and [SEP]."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", mask_token]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        corpus(), trainers.WordPieceTrainer(vocab_size=6000, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token=mask_token,
    )


def causal() -> list[Reads]:
    return [
        Reads(gpt2_like()),
        Reads(gpt2_like(trim_offsets=True)),
        Reads(gpt2_like(vocab_size=420)),
        Reads(llama3_like()),
        Reads(llama3_like("<s> $A </s>")),
        Reads(llama3_like("$A </s>")),
    ]


def masked() -> list[Reads]:
    return [Reads(bert_like(), is_causal=False), Reads(bert_like("<m>"), is_causal=False)]
