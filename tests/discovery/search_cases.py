"""Small random models made to do their task, and what each method is asked for on them."""

from dataclasses import replace
from functools import cache

import torch
from brute_force import forward, token_batch
from tiny_models import build_raw, build_tokenizer

from circuitkit.discovery.discover import discover
from circuitkit.models.loading import wrap_model

OPTIONS = {
    "prune": {"threshold": 0.4},
    "path-patching": {"threshold": 0.4, "node_threshold": 0.3},
    "acdc": {"tau": 0.1},
    "eap": {"top": 25},
    "eap-ig": {"top": 25, "steps": 2},
    "influence": {"top": 4},
}
EDGE_METHODS = ("path-patching", "acdc", "eap", "eap-ig")


@cache
def small_case(family):
    """A random model of two blocks and eight prompts: the right answer is one that they, not others, make likely."""
    tokenizer = build_tokenizer(family)
    raw = build_raw(family, vocab_size=len(tokenizer), n_layers=2, seed=3)
    model = wrap_model(raw, tokenizer, name=f"small-{family}")
    batch = token_batch(model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 7, 12]])
    row = torch.arange(len(batch.pairs))
    clean, corrupted = (forward(raw, b.ids, b.mask)[row, b.answer_pos] for b in (batch.clean, batch.corrupted))
    gain = 1.5 * clean - corrupted
    return model, replace(batch, correct_ids=gain.argmax(1), incorrect_ids=gain.argmin(1))


@cache
def found_by(method, family="gpt2", judged="basic"):
    """A judged circuit; shared, so never changed."""
    return discover(*small_case(family), method=method, judged=judged, bootstrap=50, **OPTIONS[method])
