"""Weights set by hand, in terms of features of the residual stream, and the models of every family that have them."""

from collections.abc import Mapping
from math import sqrt
from typing import Literal

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

D_MODEL, D_MLP, N_HEADS = 80, 32, 4
CONSTANT = 300.0
"""What every token writes in one direction; features are written with size 1."""
GAIN = CONSTANT / sqrt(D_MODEL)
"""A feature of size 1 has size 1 / GAIN behind a norm: readers multiply by it."""
SHARPNESS = 12.0
"""Slope of a look-up, which begins to answer at half a feature."""
ROPE_THETA = 1e6
LOGIT = 6.0
"""Logit of an answer that was found."""


class Weights:
    """All weights of a model, as matrices that read and write the residual stream in units of features.

    At first every head and MLP reads everything and writes junk; L0H3 writes a constant to all features, L1H0 nothing.
    """

    def __init__(self, family: str, *, n_layers: int, features: Mapping[str, int], seed: int) -> None:
        self.family, self.n_layers, self.n_tokens = family, n_layers, features["token"]
        self.rotary = family == "llama"
        self.n_kv, self.d_head = (N_HEADS // 2, 32) if self.rotary else (N_HEADS, D_MODEL // N_HEADS)
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw)

        mixed = torch.cat([torch.ones(D_MODEL, 1), normal(D_MODEL, D_MODEL - 1)], 1)
        basis = torch.linalg.qr(mixed.double()).Q.T.float()[1:]  # the first is the mean, which LayerNorm takes away
        self.constant, content = basis[0], basis[1:]
        parts = content.split([*features.values(), len(content) - sum(features.values())])
        self.features = dict(zip((*features, "junk"), parts, strict=True))
        # of a head's dimensions RoPE turns the later half of the pairs so slowly that prompts do not notice
        half = self.d_head // 2
        slow = [i for i in range(self.d_head) if i % half >= half * 3 // 8]
        self.slots = slow if self.rotary else list(range(self.d_head))

        def reader(*shape: int) -> Tensor:
            return content.T @ (0.4 * normal(*shape[:-1], len(content), shape[-1]))

        self.qkv = {
            "q": reader(n_layers, N_HEADS, self.d_head),
            "k": reader(n_layers, self.n_kv, self.d_head),
            "v": reader(n_layers, self.n_kv, self.d_head),
        }
        junk = self.features["junk"]
        self.o = normal(n_layers, N_HEADS, self.d_head, len(junk)) @ junk / sqrt(self.d_head * len(junk))
        self.mlp_in = reader(n_layers, D_MLP)
        self.mlp_out = normal(n_layers, D_MLP, len(junk)) @ junk / sqrt(D_MLP * len(junk))
        self.out_bias = 0.1 * normal(n_layers, len(junk)) @ junk
        self.qkv["v"][0, self._kv(3)] = self._reads_constant(torch.ones(self.d_head))
        self.o[0, 3] = 0.05 * normal(self.d_head, len(content)) @ content / sqrt(self.d_head)
        self.o[1, 0] = 0

    def _kv(self, head: int) -> int:
        return head * self.n_kv // N_HEADS

    def _reads_constant(self, values: Tensor) -> Tensor:
        """A reader that always reads the same: a bias."""
        return torch.outer(self.constant, values / CONSTANT)

    def read(self, which: Literal["q", "k", "v"], layer: int, head: int, features: Mapping[str, Tensor]) -> None:
        """Let a head's input read features [feature, slot] and nothing else; scores are q . k."""
        matrix = torch.zeros(D_MODEL, self.d_head)
        for name, weights in features.items():
            matrix[:, self.slots[: weights.shape[1]]] += self.features[name].T @ weights
        scale = sqrt(self.d_head) if which == "q" else 1.0
        self.qkv[which][layer, head if which == "q" else self._kv(head)] = matrix * scale

    def write(self, layer: int, head: int, feature: str, weights: Tensor) -> None:
        """Let a head write a feature [slot, feature] and nothing else."""
        self.o[layer, head] = 0
        self.o[layer, head, self.slots[: len(weights)]] = weights @ self.features[feature]

    def look_at_token_before(self, layer: int, head: int, sharpness: float = 30.0) -> None:
        """By one-hot positions, or by a query that RoPE turns onto the key of the token before."""
        if not self.rotary:
            places = len(self.features["position"])
            asked = torch.eye(places)[[0, *range(places - 1)]]  # the first token looks at itself
            self.read("q", layer, head, {"position": asked * sharpness})
            self.read("k", layer, head, {"position": torch.eye(places)})
            return
        half, n_fast = self.d_head // 2, 3
        frequency = ROPE_THETA ** (-torch.arange(n_fast) / half)
        query, key = torch.zeros(2, self.d_head)
        query[:n_fast], query[half : half + n_fast] = frequency.cos(), -frequency.sin()  # turned back by one position
        key[:n_fast] = 1
        self.qkv["q"][layer, head] = self._reads_constant(query * sharpness * sqrt(self.d_head))
        self.qkv["k"][layer, self._kv(head)] = self._reads_constant(key)

    def look_up(self, layer: int, features: Mapping[str, Tensor], feature: str, answers: Tensor) -> None:
        """Let an MLP write an answer for every entry [feature, entry] that reads more than half a feature."""
        n = len(answers)
        matrix = torch.zeros(D_MODEL, D_MLP)
        for name, weights in features.items():
            matrix[:, :n] += SHARPNESS * self.features[name].T @ weights
        matrix += self._reads_constant(torch.full((D_MLP,), -SHARPNESS / 2))
        self.mlp_in[layer], self.mlp_out[layer] = matrix, 0
        self.mlp_out[layer, :n] = answers @ self.features[feature] / (SHARPNESS / 2)

    def embedding(self, n_specials: int) -> Tensor:
        """What tokens write: the constant, and each its own feature."""
        tokens = torch.cat([torch.zeros(n_specials, D_MODEL), self.features["token"]])
        return tokens + CONSTANT * self.constant

    def unembedding(self, n_specials: int) -> Tensor:
        """What logits read, [vocab, d_model]."""
        return LOGIT * torch.cat([torch.zeros(n_specials, D_MODEL), self.features["out"]])


def install(weights: Weights, *, n_specials: int) -> PreTrainedModel:
    """A model of the weights' family; the first tokens mean nothing."""
    raw = _blank(weights, weights.n_tokens + n_specials)
    with torch.no_grad():
        {"gpt2": _gpt2, "llama": _llama, "bert": _bert, "distilbert": _distilbert}[weights.family](
            raw, weights, n_specials
        )
    return raw.eval()


def _blank(weights: Weights, vocab_size: int) -> PreTrainedModel:
    """A model whose norms do nothing but normalise, and whose other weights are 0."""
    places = len(weights.features["position"])
    common = {"vocab_size": vocab_size, "tie_word_embeddings": False, "pad_token_id": 0}
    ends = {"bos_token_id": 1, "eos_token_id": 1}
    match weights.family:
        case "gpt2":
            raw = GPT2LMHeadModel(
                GPT2Config(
                    n_positions=places, n_embd=D_MODEL, n_layer=weights.n_layers, n_head=N_HEADS, n_inner=D_MLP,
                    **common, **ends,
                )
            )  # fmt: skip
        case "llama":
            raw = LlamaForCausalLM(
                LlamaConfig(
                    hidden_size=D_MODEL, intermediate_size=D_MLP, num_hidden_layers=weights.n_layers,
                    num_attention_heads=N_HEADS, num_key_value_heads=weights.n_kv, head_dim=weights.d_head,
                    max_position_embeddings=places, rope_theta=ROPE_THETA, **common, **ends,
                )
            )  # fmt: skip
        case "bert":
            raw = BertForMaskedLM(
                BertConfig(
                    hidden_size=D_MODEL, num_hidden_layers=weights.n_layers, num_attention_heads=N_HEADS,
                    intermediate_size=D_MLP, max_position_embeddings=places, **common,
                )
            )  # fmt: skip
        case _:
            raw = DistilBertForMaskedLM(
                DistilBertConfig(
                    dim=D_MODEL, n_layers=weights.n_layers, n_heads=N_HEADS, hidden_dim=D_MLP,
                    max_position_embeddings=places, **common,
                )
            )  # fmt: skip
    with torch.no_grad():
        for name, parameter in raw.named_parameters():
            owner = type(raw.get_submodule(name.rpartition(".")[0])).__name__
            parameter.fill_(1.0 if name.endswith("weight") and "Norm" in owner else 0.0)
    return raw


def _side_by_side(heads: Tensor) -> Tensor:
    """Readers of heads [head, d_model, d_head] as one matrix [d_model, head * d_head]."""
    return GAIN * torch.cat(list(heads), 1)


def _gpt2(raw, weights, n_specials):
    raw.transformer.wte.weight.copy_(weights.embedding(n_specials))
    raw.transformer.wpe.weight.copy_(weights.features["position"])
    raw.lm_head.weight.copy_(GAIN * weights.unembedding(n_specials))
    for layer, block in enumerate(raw.transformer.h):
        block.attn.c_attn.weight.copy_(torch.cat([_side_by_side(weights.qkv[i][layer]) for i in "qkv"], 1))
        block.attn.c_proj.weight.copy_(weights.o[layer].flatten(0, 1))
        block.attn.c_proj.bias.copy_(weights.out_bias[layer])
        block.mlp.c_fc.weight.copy_(GAIN * weights.mlp_in[layer])
        block.mlp.c_proj.weight.copy_(weights.mlp_out[layer])


def _llama(raw, weights, n_specials):
    raw.model.embed_tokens.weight.copy_(weights.embedding(n_specials))
    raw.lm_head.weight.copy_(GAIN * weights.unembedding(n_specials))
    for layer, block in enumerate(raw.model.layers):
        attention = block.self_attn
        for name, linear in zip("qkv", (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
            linear.weight.copy_(_side_by_side(weights.qkv[name][layer]).T)
        attention.o_proj.weight.copy_(weights.o[layer].flatten(0, 1).T)
        block.mlp.gate_proj.weight.copy_(GAIN * weights.mlp_in[layer].T)
        block.mlp.up_proj.weight.copy_((weights.constant / sqrt(D_MODEL)).expand(D_MLP, D_MODEL))  # always reads 1
        block.mlp.down_proj.weight.copy_(weights.mlp_out[layer].T)


def _bert(raw, weights, n_specials):
    embeddings, head = raw.bert.embeddings, raw.cls.predictions
    embeddings.word_embeddings.weight.copy_(weights.embedding(n_specials))
    embeddings.position_embeddings.weight.copy_(weights.features["position"])
    _masked_head(weights, head.transform.dense, head.decoder, n_specials)
    for layer, block in enumerate(raw.bert.encoder.layer):
        attention = block.attention.self
        linears = (attention.query, attention.key, attention.value, block.attention.output.dense)
        _post_norm_block(weights, layer, *linears, block.intermediate.dense, block.output.dense)


def _distilbert(raw, weights, n_specials):
    raw.distilbert.embeddings.word_embeddings.weight.copy_(weights.embedding(n_specials))
    raw.distilbert.embeddings.position_embeddings.weight.copy_(weights.features["position"])
    _masked_head(weights, raw.vocab_transform, raw.vocab_projector, n_specials)
    for layer, block in enumerate(raw.distilbert.transformer.layer):
        attention = block.attention
        linears = (attention.q_lin, attention.k_lin, attention.v_lin, attention.out_lin)
        _post_norm_block(weights, layer, *linears, block.ffn.lin1, block.ffn.lin2)


def _post_norm_block(weights, layer, query, key, value, out, mlp_in, mlp_out):
    """The stream is normalised: features have size 1 / GAIN in it, and so have writes."""
    for name, linear in zip("qkv", (query, key, value), strict=True):
        linear.weight.copy_(_side_by_side(weights.qkv[name][layer]).T)
    out.weight.copy_(weights.o[layer].flatten(0, 1).T / GAIN)
    out.bias.copy_(weights.out_bias[layer] / GAIN)
    mlp_in.weight.copy_(GAIN * weights.mlp_in[layer].T)
    mlp_out.weight.copy_(weights.mlp_out[layer].T / GAIN)


def _masked_head(weights, dense, decoder, n_specials):
    """Features pass the activation where it is linear, and the norm beside two large constants."""
    n, lift = weights.n_tokens, 6.0
    dense.weight[:n] = lift / 2 * GAIN * weights.features["out"]
    dense.bias[:n] = lift
    dense.bias[-2:] = CONSTANT
    spread = dense.bias.std(correction=0)
    decoder.weight[n_specials:, :n] = LOGIT * spread / (lift / 2) * torch.eye(n)
    decoder.bias[:n_specials] = -10 * LOGIT
