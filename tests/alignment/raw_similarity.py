"""Similarities by hand: raw Hugging Face modules, one prompt at a time without padding, stacked activations, numpy."""

import copy

import numpy as np
import torch
from brute_force import MODULES, read
from transformers import PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


def components(raw: PreTrainedModel) -> tuple[list[Component], list[Component]]:
    layers, heads = raw.config.num_hidden_layers, raw.config.num_attention_heads
    return (
        [Component(layer, head) for layer in range(layers) for head in range(heads)],
        [Component(layer) for layer in range(layers)],
    )


def z_by_prompt(model: HookedModel, batch: PromptBatch, head: Component) -> list[np.ndarray]:
    """[pos, d_head] of every prompt."""
    z = read(model.raw, model.info.family, head, batch.clean)
    return [z[i][mask].double().numpy() for i, mask in enumerate(batch.clean.mask)]


@torch.no_grad()
def writes_by_prompt(model: HookedModel, batch: PromptBatch, head: Component) -> list[np.ndarray]:
    """o_c [pos, d_model] of every prompt: the raw projection fed one head only, less what it says to zeros."""
    blocks, projection, _ = MODULES[model.info.family]
    module = copy.deepcopy(model.raw.get_submodule(f"{blocks}.{head.layer}.{projection}")).double()
    heads = model.raw.config.num_attention_heads
    out = []
    for z in z_by_prompt(model, batch, head):
        full = torch.zeros(len(z), heads * z.shape[1], dtype=torch.float64)
        full[:, head.head * z.shape[1] : (head.head + 1) * z.shape[1]] = torch.from_numpy(z)
        out.append((module(full) - module(torch.zeros_like(full))).numpy())
    return out


def mlp_by_prompt(model: HookedModel, batch: PromptBatch, mlp: Component) -> list[np.ndarray]:
    """MLP output [pos, d_model] of every prompt."""
    values = read(model.raw, model.info.family, mlp, batch.clean)
    return [values[i][mask].double().numpy() for i, mask in enumerate(batch.clean.mask)]


@torch.no_grad()
def patterns_by_prompt(model: HookedModel, batch: PromptBatch) -> list[np.ndarray]:
    """Attention [layer * head, query, key] of every prompt, from Hugging Face's own eager attention."""
    raw = copy.deepcopy(model.raw)
    raw.set_attn_implementation("eager")
    out = []
    for ids, mask in zip(batch.clean.ids, batch.clean.mask, strict=True):
        result = raw(input_ids=ids[mask][None], output_attentions=True)
        out.append(torch.cat([layer[0] for layer in result.attentions]).double().numpy())
    return out


def group_members(batch: PromptBatch) -> list[list[int]]:
    group = batch.group.tolist()
    return [[i for i, g in enumerate(group) if g == number] for number in range(max(group) + 1)]


def flat_mean(values: list[np.ndarray], groups: list[list[int]]) -> np.ndarray:
    """Means of the groups, flattened, side by side; a product of two such counts groups by their share."""
    share = [len(rows) / len(values) for rows in groups]
    means = [np.mean([values[i] for i in rows], axis=0).ravel() for rows in groups]
    return np.concatenate([s**0.5 * mean for s, mean in zip(share, means, strict=True)])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def pattern_cosine(teacher: list[np.ndarray], student: list[np.ndarray], groups: list[list[int]]) -> np.ndarray:
    """Every query row of a group's mean pattern compared on its own; the mean over rows and prompts."""
    n_t, n_s = teacher[0].shape[0], student[0].shape[0]
    total, rows = np.zeros((n_t, n_s)), 0
    for members in groups:
        t, s = (np.mean([side[i] for i in members], axis=0) for side in (teacher, student))
        for query in range(t.shape[1]):
            total += len(members) * np.array([[cosine(a[query], b[query]) for b in s] for a in t])
            rows += len(members)
    return total / rows


def eigenvector_cosine(teacher: np.ndarray, student: np.ndarray) -> float:
    """Of stacked outputs [unit, d_model], through numpy's covariance."""
    axes = [np.linalg.eigh(np.cov(side.T))[1][:, ::-1][:, :3] for side in (teacher, student)]
    return float(np.mean([abs(cosine(axes[0][:, k], axes[1][:, k])) for k in range(3)]))


def cka(teacher: np.ndarray, student: np.ndarray) -> float:
    """Linear CKA through centred Gram matrices of stacked activations [unit, width]."""
    n = len(teacher)
    centre = np.eye(n) - np.ones((n, n)) / n
    k, m = (centre @ side @ side.T @ centre for side in (teacher, student))
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))
