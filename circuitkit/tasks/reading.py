"""What a model reads of a prompt, where it answers, and which two tokens are compared there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from circuitkit.core.errors import ModelError
from circuitkit.tasks.encoding import Encoding, encode
from circuitkit.tasks.pool import Pool
from circuitkit.tasks.prompt import END, MASK, Span
from circuitkit.tasks.words import label_tokens, token_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A prompt as tokens.

    Attributes:
        ids: What the model is given.
        words: Index of the whitespace word of each token; -1 for special tokens, the mask token among them.
        answer_pos: The position whose logits are read.
        correct_id: The token that stands for the right answer.
        incorrect_id: The token that stands for the distractor.
        labels: Label to position of the last token of its span; END is the answer position.
        starts: Label to position of the first token of its span; of END of the last word, or the mask token.
        n_unknown: How many tokens of the prompt are the unknown token.
    """

    ids: tuple[int, ...]
    words: tuple[int, ...]
    answer_pos: int
    correct_id: int
    incorrect_id: int
    labels: Mapping[str, int]
    starts: Mapping[str, int]
    n_unknown: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a prompt cannot be used with a model."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    """A prompt as tokens, its offsets counted in the characters of the prompt as the user wrote it."""

    encoding: Encoding
    text: str
    answer_pos: int
    correct_id: int
    incorrect_id: int


REMEMBERED = 1024
"""Readings kept to be asked for again: a pair is read when it is drawn and when it is used, one after the other."""

_Key = tuple[str, str, str, tuple[tuple[str, Span], ...]]


@dataclass(slots=True, kw_only=True)
class PromptReader:
    """Tokenises the prompts of one model, those of late only once.

    Attributes:
        tokenizer: The model's tokenizer.
        is_causal: False for masked language models, which answer at their mask token.
        max_length: Most tokens that the model takes.
        vocab_size: Number of tokens that the model knows; a token that was added to the tokenizer alone is beyond.
    """

    tokenizer: PreTrainedTokenizerBase
    is_causal: bool
    max_length: int
    vocab_size: int
    _known: dict[_Key, Reading | Unusable] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)  # a number of its own for every token would take 32 bytes
    _words: Pool[tuple[int, ...]] = field(default_factory=Pool[tuple[int, ...]])
    _labels: Pool[Mapping[str, int]] = field(default_factory=Pool[Mapping[str, int]])

    def read(self, prompt: str, *, correct: str, incorrect: str, labels: Mapping[str, Span]) -> Reading | Unusable:
        """Tokenise a prompt by divergence.

        Raises:
            ModelError: The tokenizer has no offsets, or no mask token where one is needed.
        """
        key = (prompt, correct, incorrect, tuple(sorted(labels.items())))
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = self._read(prompt, correct, incorrect, labels)
        return self._known[key]

    def alike(self, word: str, other: str) -> bool:
        """Whether two words have as many tokens within a sentence."""
        return self._n_tokens(word) == self._n_tokens(other)

    def _n_tokens(self, word: str) -> int:
        if word not in self._sizes:
            self._sizes[word] = len(encode(self.tokenizer, f" {word}").ids)
        return self._sizes[word]

    def _read(self, prompt: str, correct: str, incorrect: str, labels: Mapping[str, Span]) -> Reading | Unusable:
        tokens = (_read_causal if self.is_causal else _read_masked)(self.tokenizer, prompt, correct, incorrect)
        if isinstance(tokens, Unusable):
            return tokens
        if self.tokenizer.unk_token_id in (tokens.correct_id, tokens.incorrect_id):
            return Unusable("an answer is unknown to the tokenizer")
        ids, offsets = tokens.encoding.ids, tokens.encoding.offsets
        if len(ids) > self.max_length:
            return Unusable(f"{len(ids)} tokens are too long for the model, which takes {self.max_length}")
        if max(*ids, tokens.correct_id, tokens.incorrect_id) >= self.vocab_size:
            return Unusable(f"the tokenizer makes tokens of it that the model, which has {self.vocab_size}, lacks")
        hidden = [
            special or token == self.tokenizer.mask_token_id
            for special, token in zip(tokens.encoding.special, ids, strict=True)
        ]
        words = token_words(tokens.text, offsets, hidden)
        positions: dict[str, int] = {}
        starts: dict[str, int] = {}
        for label, span in labels.items():
            found = label_tokens(offsets, hidden, span)
            if label == END:
                starts[label] = found[0] if found is not None and self.is_causal else tokens.answer_pos
                positions[label] = tokens.answer_pos
                continue
            if found is None:
                return Unusable(f"no token before the answer holds the label {label}")
            starts[label], positions[label] = found
        return Reading(
            ids=tuple(self._tokens.setdefault(token, token) for token in ids),
            words=self._words.one(words, words),
            answer_pos=tokens.answer_pos,
            correct_id=tokens.correct_id,
            incorrect_id=tokens.incorrect_id,
            labels=self._labels.one(tuple(positions.items()), positions),
            starts=self._labels.one(tuple(starts.items()), starts),
            n_unknown=sum(
                token == self.tokenizer.unk_token_id and not special
                for token, special in zip(ids, tokens.encoding.special, strict=True)
            ),
        )


def _read_causal(tokenizer: PreTrainedTokenizerBase, prompt: str, correct: str, incorrect: str) -> _Tokens | Unusable:
    """Cut the prompt where its two continuations first differ; what they share before belongs to the prompt."""
    text = prompt.rstrip().removesuffix(MASK).rstrip() if prompt.rstrip().endswith(MASK) else prompt
    if MASK in text:
        return Unusable(f"{MASK} stands before the end, and a causal model reads only what comes before it")
    right, wrong = encode(tokenizer, text + correct), encode(tokenizer, text + incorrect)
    pairs = zip(right.ids, wrong.ids, strict=False)
    cut = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if cut is None or right.special[cut] or wrong.special[cut]:
        return Unusable("the answers do not differ in one token: one is the beginning of the other")
    if min(right.offsets[cut][1], wrong.offsets[cut][1]) <= len(text):
        return Unusable("the answers do not differ in one token: the prompt is split differently before them")
    if cut == 0:
        return Unusable("no token comes before the answer")
    return _Tokens(
        encoding=Encoding(ids=right.ids[:cut], offsets=right.offsets[:cut], special=right.special[:cut]),
        text=text,
        answer_pos=cut - 1,
        correct_id=right.ids[cut],
        incorrect_id=wrong.ids[cut],
    )


def _read_masked(tokenizer: PreTrainedTokenizerBase, prompt: str, correct: str, incorrect: str) -> _Tokens | Unusable:
    """Put the mask token where the answer belongs; with the answer itself there, only this token may change."""
    mask = tokenizer.mask_token
    if not isinstance(mask, str):
        raise ModelError("The tokenizer has no mask token, which a masked language model answers at; add one to it.")
    written = prompt if MASK in prompt else f"{prompt} {MASK}"
    if written.count(MASK) > 1:
        return Unusable(f"{MASK} stands in the prompt more than once")
    asked = encode(tokenizer, written.replace(MASK, mask))
    if asked.ids.count(tokenizer.mask_token_id) != 1:
        return Unusable("the tokenizer does not keep its mask token in one piece")
    place = asked.ids.index(tokenizer.mask_token_id)
    answers: list[int] = []
    for answer in (correct, incorrect):
        ids = encode(tokenizer, written.replace(MASK, answer.strip())).ids
        if len(ids) != len(asked.ids) or (*ids[:place], *ids[place + 1 :]) != (
            *asked.ids[:place],
            *asked.ids[place + 1 :],
        ):
            return Unusable("an answer is not a single token, as a masked language model needs it")
        answers.append(ids[place])
    if answers[0] == answers[1]:
        return Unusable("the answers do not differ in one token: both are the same token")
    edge, longer = written.index(MASK) + len(mask), len(mask) - len(MASK)
    offsets = tuple((s - longer, e - longer) if s >= edge else (s, e) for s, e in asked.offsets)
    return _Tokens(
        encoding=Encoding(ids=asked.ids, offsets=offsets, special=asked.special),
        text=prompt,
        answer_pos=place,
        correct_id=answers[0],
        incorrect_id=answers[1],
    )
