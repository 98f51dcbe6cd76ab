"""Runs made of random numbers, in the structure that `align` and `influence` save."""

from pathlib import Path
from typing import Any

import torch

from circuitkit.core.component import all_components
from circuitkit.core.run_directory import save_run

PROMPT = "When Mary and John went to the store, John gave a drink to"
TOKENS = ["When", " Mary", " and", " John", " went", " to", " the", " store", ",", " John", " gave", " a"]
TOKENS += [" drink", " to"]


def card(name: str, n_layers: int, n_heads: int) -> dict[str, Any]:
    return {
        "name": name,
        "family": "gpt2",
        "n_layers": n_layers,
        "n_heads": n_heads,
        "n_kv_heads": n_heads,
        "d_model": 32 * n_heads,
        "d_head": 32,
        "d_mlp": 128 * n_heads,
        "n_params": 12 * n_layers * (32 * n_heads) ** 2,
        "max_length": 64,
        "vocab_size": 1000,
        "weights_sha256": "ab12" * 16,
        "revision": None,
    }


def effects(n_layers: int, n_heads: int, *, seed: int, logit_diff: float) -> dict[str, dict[str, Any]]:
    draw = torch.Generator().manual_seed(seed)
    names = [str(part) for part in all_components(n_layers, n_heads)]
    drops = logit_diff * torch.rand(len(names), generator=draw) ** 6 - 0.1
    influence = drops.clamp(min=0) / drops.max()
    return {
        name: {
            "drop": round(d, 4),
            "influence": round(i, 4),
            "ci95": [round(max(0.0, i - 0.05), 4), round(min(1.0, i + 0.05), 4)],
            "drop_ci95": [round(d - 0.08, 4), round(d + 0.08, 4)],
        }
        for name, d, i in zip(names, drops.tolist(), influence.tolist(), strict=True)
    }


def make_pairs(teacher: dict[str, Any], student: dict[str, Any], *, seed: int) -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(seed)
    pairs: list[dict[str, Any]] = []
    for name in teacher:
        same = [other for other in student if other.startswith("MLP") == name.startswith("MLP")]
        partner = same[int(torch.randint(len(same), (1,), generator=draw))]
        similarity = round(float(torch.rand(1, generator=draw)) ** 0.6, 4)
        i_t, i_s = teacher[name]["influence"], student[partner]["influence"]
        pairs.append(
            {
                "teacher": name,
                "student": partner,
                "similarity": similarity,
                "teacher_influence": i_t,
                "student_influence": i_s,
                "contribution": similarity * (1 - abs(i_t - i_s)),
            }
        )
    return pairs


def patterns(n_heads: int, n_tokens: int, *, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    scores = 4 * torch.rand(n_heads, n_tokens, n_tokens, generator=draw)
    hidden = torch.ones(n_tokens, n_tokens).triu(1).bool()
    return scores.masked_fill(hidden, float("-inf")).softmax(-1)


def alignment_result(
    *, sizes: tuple[int, int, int] = (4, 2, 4), task: str = "ioi", seed: int = 0, prompt: str = PROMPT
) -> dict[str, Any]:
    """`circuitkit.alignment/1`; sizes are teacher layers, student layers, heads."""
    teacher = effects(sizes[0], sizes[2], seed=seed, logit_diff=6.8)
    student = effects(sizes[1], sizes[2], seed=seed + 1, logit_diff=6.2)
    pairs = make_pairs(teacher, student, seed=seed + 2)
    score = sum(pair["contribution"] for pair in pairs) / len(pairs)
    heads = [p for p in sorted(pairs, key=lambda p: -p["teacher_influence"]) if p["teacher"].startswith("L")]
    return {
        "schema": "circuitkit.alignment/1",
        "teacher": card("toy-gpt2", sizes[0], sizes[2]),
        "student": card("toy-distilgpt2", sizes[1], sizes[2]),
        "task": {
            "name": task,
            "sha256": "cd34" * 16,
            "n_prompts": 382,
            "n_dropped": 2,
            "dropped": [
                {"index": 7, "prompt": prompt, "reason": "the answers share their first token"},
                {"index": 90, "prompt": PROMPT, "reason": "longer than the model's 64 positions"},
            ],
            "labels": ["IO", "S1", "S2", "END"],
        },
        "settings": {
            "n_prompts": 384,
            "ablation": "corrupted-mean",
            "similarity": "auto",
            "matching": "greedy",
            "normalize": "max",
            "direction": "teacher",
            "top_k": None,
            "bootstrap": 1000,
            "null": "both",
            "seed": 0,
        },
        "device": "cpu",
        "dtype": "float32",
        "versions": {"circuitkit": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "command": f"circuitkit align toy-gpt2 toy-distilgpt2 --task {task} --null both",
        "teacher_logit_diff": {"mean": 6.80, "ci95": [6.71, 6.90]},
        "student_logit_diff": {"mean": 6.21, "ci95": [6.02, 6.39]},
        "influence": {
            "teacher": teacher,
            "student": student,
            "units": {"drop": "logits", "influence": "max"},
        },
        "components": {"teacher": list(teacher), "student": list(student)},
        "pairs": pairs,
        "alignment": {
            "score": score,
            "ci95": [score - 0.021, score + 0.019],
            "null": {
                "shuffle": {"mean": score - 0.05, "sd": 0.016, "p": 0.002, "n": 1000},
                "random_student": {
                    "mean": 0.055,
                    "scores": [0.041, 0.06, 0.048, 0.071, 0.055],
                    "seeds": [0, 1, 2, 3, 4],
                },
            },
            "calibrated": 0.05 / (1 - score + 0.05),
            "circuit_alignment": 0.7 * score,
        },
        "robustness": {
            "teacher": {"mean_drop": 9.8, "ci95": [9.1, 10.4], "over_10": 0.25, "over_20": 0.15},
            "student": {"mean_drop": 18.2, "ci95": [17.0, 19.5], "over_10": 0.4, "over_20": 0.3},
            "compression": 0.48,
            "brittleness": 17.5,
        },
        "warnings": ["3 prompts were drawn twice.", f"Similarity auto is output here ({prompt[:4]})."],
        "inheritance": {"map": {"0": 0, "1": 2}, "share_of_matches_following_copy": 0.62},
        "unmatched": {"teacher": [], "student": sorted(set(student) - {p["student"] for p in pairs})},
        "examples": [
            {
                "prompt": prompt,
                "corrupted": "When Ann and Tom went to the store, Bob gave a drink to",
                "teacher_tokens": TOKENS,
                "student_tokens": TOKENS,
                "correct": " Mary",
                "incorrect": " John",
                "heads": [{"teacher": p["teacher"], "student": p["student"]} for p in heads[:6]],
            }
            for _ in range(2)
        ],
    }


def influence_result() -> dict[str, Any]:
    """`circuitkit.influence/1`."""
    result = alignment_result()
    return {
        "schema": "circuitkit.influence/1",
        "model": result["teacher"],
        "logit_diff": result["teacher_logit_diff"],
        "influence": result["influence"]["teacher"],
        **{key: result[key] for key in ("task", "settings", "warnings", "versions", "command")},
    }


def table_result() -> dict[str, Any]:
    """`circuitkit.alignment-table/1`; one task's student cannot do it."""
    tasks = {name: alignment_result(task=name, seed=3 * i) for i, name in enumerate(["ioi", "numerals"])}
    months = alignment_result(task="months", seed=11)
    months["student_logit_diff"] = {"mean": 0.05, "ci95": [-0.2, 0.3]}
    months["robustness"] = {**months["robustness"], "student": None, "brittleness": None}
    return {
        "schema": "circuitkit.alignment-table/1",
        "command": "circuitkit align toy-gpt2 toy-distilgpt2 --task ioi,numerals,months",
        "tasks": {**tasks, "months": months},
    }


def save_alignment(path: Path, result: dict[str, Any]) -> Path:
    tensors = {
        f"example{i}.{who}_patterns": patterns(len(e["heads"]), len(e[f"{who}_tokens"]), seed=i)
        for i, e in enumerate(result["examples"])
        for who in ("teacher", "student")
    }
    return save_run(path, result, tensors, dict.fromkeys(tensors, ("head_pair", "query", "key")))
