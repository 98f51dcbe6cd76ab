"""Circuits made of random numbers, in the structure that `discover` and `compare` save."""

from typing import Any

import torch
from fake_run import alignment_result, card

from circuitkit.core.component import Component, all_components
from circuitkit.core.edge import EdgeSpace


def judgement(*, seed: int = 0, curve: bool = True) -> dict[str, Any]:
    """Numbers of a circuit that keeps about nine tenths of the answer."""
    kept = 0.86 + 0.01 * seed
    return {
        "model_logit_diff": 3.42,
        "corrupted_logit_diff": -0.31,
        "circuit_logit_diff": round(-0.31 + kept * 3.73, 4),
        "complement_logit_diff": 0.12,
        "faithfulness": kept,
        "complement_share": round((0.12 + 0.31) / 3.73, 4),
        "logit_diff_share": 0.85,
        "kl": {"mean": 0.182, "ci95": [0.15, 0.21]},
        "accuracy": {
            "model": 0.99,
            "circuit": 0.96,
            "model_top1": 0.9,
            "circuit_top1": None,
            "ci95": {"model": [0.97, 1.0], "circuit": [0.93, 0.98], "model_top1": [0.85, 0.93], "circuit_top1": None},
        },
        "ci95": {
            "model_logit_diff": [3.31, 3.54],
            "circuit_logit_diff": [2.7, 3.1],
            "faithfulness": [kept - 0.05, kept + 0.05],
            "complement_share": [0.08, 0.15],
            "logit_diff_share": [0.8, 0.9],
        },
        "sparsity": {"nodes": 0.19, "edges": 0.005, "n_nodes": 30, "n_edges": 150},
        "completeness": {
            "n_subsets": 10,
            "mean_difference": 0.21,
            "max_difference": 0.4,
            "removed": [3, 5],
            "differences": [0.1, 0.4],
            "ci95": {"mean_difference": [0.15, 0.3], "max_difference": None},
        },
        "minimality": None,
        "curve": _curve() if curve else None,
    }


def _curve() -> dict[str, Any]:
    sizes = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    found = [0.02, 0.1, 0.24, 0.61, 0.8, 0.93, 0.97, 1.02, 1.01, 1.0]
    return {
        "sizes": sizes,
        "n_parts": [int(size * 32491) for size in sizes],
        "faithfulness": found,
        "faithfulness_by_magnitude": [value - 0.03 for value in found],
        "cpr": 0.91,
        "cmd": 0.12,
        "random": {"cpr": [0.5, 0.54], "cmd": [0.5, 0.46]},
        "ci95": {"faithfulness": [[v - 0.05, v + 0.05] for v in found], "cpr": [0.9, 0.92], "cmd": [0.11, 0.13]},
    }


def minimality(names: list[str]) -> dict[str, Any]:
    """Costs of the parts, the last of which is not needed."""
    costs = {
        name: {
            "loss": round(0.3 * (len(names) - 1 - i) / len(names), 4),
            "loss_ci95": [-0.1, 0.4],
            "drop": 0.1,
            "drop_ci95": None,
        }
        for i, name in enumerate(names)
    }
    return {"n_parts": len(names) + 2, "n_measured": len(names), "n_not_needed": 1, "parts": costs}


def _frame(n_layers: int, n_heads: int, *, method: str, name: str) -> dict[str, Any]:
    base = alignment_result()
    settings = {"method": method, "n_prompts": 384, "ablation": "corrupted-mean", "metric": "logit_diff", "seed": 0}
    return {
        "schema": "circuitkit.circuit/1",
        "model": card(name, n_layers, n_heads),
        "task": base["task"],
        "settings": settings,
        "device": "cpu",
        "dtype": "float32",
        "versions": base["versions"],
        "command": f"circuitkit discover {name} --task ioi --method {method}",
        "method": method,
        "n_possible": {
            "nodes": n_layers * (n_heads + 1),
            "edges": EdgeSpace(n_layers, n_heads).n_edges,
        },
        "evaluations": 412,
        "warnings": ["The smallest group of prompts has 9."],
    }


def _effects(names: list[str], draw: torch.Generator) -> dict[str, Any]:
    sizes = (1.6 * torch.rand(len(names), 2, generator=draw) ** 3 - 0.06).tolist()
    return {name: {"drop": round(a, 4), "loss": round(b, 4)} for name, (a, b) in zip(names, sizes, strict=True)}


def node_circuit(
    n_layers: int = 12, n_heads: int = 12, n_kept: int = 30, *, seed: int = 0, name: str = "gpt2"
) -> dict[str, Any]:
    """A circuit of components, as `prune` gives it."""
    draw = torch.Generator().manual_seed(seed)
    everything = all_components(n_layers, n_heads)
    chosen = torch.randperm(len(everything), generator=draw)[:n_kept].tolist()
    parts = sorted((everything[i] for i in chosen), key=lambda p: (p.layer, p.head is None, p.head or 0))
    nodes = [str(part) for part in parts]
    judged = judgement(seed=seed)
    judged["minimality"] = minimality(nodes)
    return {
        **_frame(n_layers, n_heads, method="prune", name=name),
        "kind": "nodes",
        "nodes": nodes,
        "node_effects": _effects(nodes, draw),
        "edges": None,
        "faithfulness": judged,
    }


def edge_circuit(
    n_layers: int = 12,
    n_heads: int = 12,
    n_kept: int = 28,
    n_edges: int = 150,
    *,
    seed: int = 0,
    name: str = "gpt2",
    method: str = "acdc",
) -> dict[str, Any]:
    """A circuit of edges between random components; nearby layers and MLPs are joined more often."""
    draw = torch.Generator().manual_seed(seed)
    space, everything = EdgeSpace(n_layers, n_heads), all_components(n_layers, n_heads)
    liking = torch.tensor([2.0 if part.head is None else 1.0 for part in everything])
    parts = [everything[i] for i in torch.multinomial(liking, n_kept, generator=draw).tolist()]
    possible = space.edges(space.between(parts))
    layers = [(_layer(e.sender.component, -1), _layer(e.receiver.component, n_layers)) for e in possible]
    weights = torch.tensor([1 / (1 + end - start) for start, end in layers])
    chosen = sorted(torch.multinomial(weights, min(n_edges, len(possible)), generator=draw).tolist())
    effects = (0.9 * torch.rand(len(chosen), generator=draw) ** 4 - 0.04).tolist()
    edges = [
        {"sender": str(possible[i].sender), "receiver": str(possible[i].receiver), "effect": round(x, 4)}
        for i, x in zip(chosen, effects, strict=True)
    ]
    senders, readers = {e["sender"] for e in edges}, {e["receiver"].split(".")[0] for e in edges}
    ordered = sorted(parts, key=lambda p: (p.layer, p.head is None, p.head or 0))
    nodes = [str(part) for part in ordered if str(part) in senders & readers]
    return {
        **_frame(n_layers, n_heads, method=method, name=name),
        "kind": "edges",
        "nodes": nodes,
        "node_effects": _effects(nodes, draw),
        "edges": edges,
        "faithfulness": judgement(seed=seed),
    }


def _layer(part: Component | None, end: int) -> int:
    return end if part is None else part.layer


def sweep_result() -> dict[str, Any]:
    """`circuitkit.circuit-sweep/1` over the threshold of a method of edges."""
    frame = _frame(12, 12, method="acdc", name="gpt2")
    taus = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
    return {
        **{key: frame[key] for key in ("model", "task", "settings", "versions", "warnings")},
        "schema": "circuitkit.circuit-sweep/1",
        "command": "circuitkit discover gpt2 --task ioi --method acdc --sweep",
        "parameter": "tau",
        "points": [
            {
                "value": tau,
                "n_nodes": 120 // (i + 1),
                "n_edges": 8000 // 4**i + 1,
                "faithfulness": round(1.02 - 0.025 * i * i, 4),
                "ci95": [round(0.97 - 0.025 * i * i, 4), round(1.07 - 0.025 * i * i, 4)],
                "circuit_logit_diff": round(3.4 - 0.08 * i * i, 4),
                "complement_share": round(0.05 + 0.1 * i, 4),
                "completeness": round(0.1 + 0.1 * i, 4),
                "kl": round(0.01 + 0.05 * i * i, 4),
                "accuracy": round(0.99 - 0.06 * i, 4),
            }
            for i, tau in enumerate(taus)
        ],
    }


def comparison_result(*, edges: bool = True) -> dict[str, Any]:
    """`circuitkit.comparison/1`: a deep teacher and a student of half the depth."""
    if edges:
        teacher = edge_circuit(12, 12, 22, 110, seed=1, name="gpt2")
        student = edge_circuit(6, 12, 14, 70, seed=2, name="distilgpt2")
    else:
        teacher = node_circuit(12, 12, 26, seed=1, name="gpt2")
        student = node_circuit(6, 12, 15, seed=2, name="distilgpt2")
    base = alignment_result()
    kinds = {kind: [n for n in student["nodes"] if n.startswith("MLP") is kind] for kind in (True, False)}
    pairs = [
        {"teacher": name, "student": same[i % len(same)], "similarity": round(0.95 - 0.03 * (i % 20), 3)}
        for i, name in enumerate(teacher["nodes"])
        if (same := [*kinds[name.startswith("MLP")], "MLP0" if name.startswith("MLP") else "L0H0"])
    ]
    return {
        "schema": "circuitkit.comparison/1",
        "teacher": teacher["model"],
        "student": student["model"],
        "task": base["task"],
        "settings": teacher["settings"],
        "versions": base["versions"],
        "command": "circuitkit compare gpt2 distilgpt2 --task ioi",
        "circuits": {"teacher": teacher, "student": student},
        "alignment": {"score": 0.49, "ci95": [0.45, 0.53]},
        "robustness": base["robustness"],
        "pairs": pairs,
        "warnings": [],
    }


def _fall(points: float, *, width: float = 4.0) -> dict[str, Any]:
    logits, half = round(points / 16, 3), width / 2
    return {
        "logits": logits,
        "logits_ci95": [logits - half / 16, logits + half / 16],
        "points": points,
        "points_ci95": [points - half, points + half],
    }


def _role(status: str, teacher: list[str], student: list[str], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "title": "What such heads do",
        "source": "Someone et al. 2024",
        "status": status,
        "teacher": teacher,
        "student": student,
        "matches": [],
        "merges": [],
        "lost": [],
        "new": [],
        "reliance": {"teacher": None, "student": None, "difference": None},
        "nearest": {},
    } | more


def compared_roles() -> dict[str, Any]:
    """The key `roles` of a comparison: two heads merged in one, one role lost, one new."""
    both = {"L2H1": ["name-mover"], "L3H4": ["name-mover"], "L1H0": ["induction"]}, {"L1H2": ["name-mover", "copy"]}
    merge = {"student": "L1H2", "teachers": ["L2H1", "L3H4"], "same_role": True}
    apart = {"points": 21.5, "points_ci95": [15.0, 28.0]}
    near = {"component": "L0H3", "p": 0.4, "q": 1.0, "score": 0.31, "missing": ["ov"]}
    row = {"component": "L2H1", "of": 2, "full_model": _fall(33.3), "circuit_minus_head": _fall(27.8)}
    other = {"component": "L1H2", "of": 1, "full_model": _fall(72.5), "circuit_minus_head": None}
    return {
        "ablation": "corrupted-mean",
        "alpha": 0.05,
        "tested": {"teacher": ["induction", "name-mover", "copy"], "student": ["induction", "name-mover", "copy"]},
        "roles": {
            "induction": _role(
                "lost",
                ["L1H0"],
                [],
                matches=[{"teacher": "L1H0", "student": "L0H0", "similarity": 0.7, "same_role": False}],
                lost=["L1H0"],
                reliance={"teacher": _fall(-12.5), "student": None, "difference": None},
                nearest={"student": near},
            ),
            "name-mover": _role(
                "both",
                ["L2H1", "L3H4"],
                ["L1H2"],
                matches=[
                    {"teacher": name, "student": "L1H2", "similarity": 0.9, "same_role": True}
                    for name in merge["teachers"]
                ],
                merges=[merge],
                reliance={"teacher": _fall(51.0), "student": _fall(72.5), "difference": apart},
            ),
            "copy": _role("new", [], ["L1H2"], new=["L1H2"], nearest={"teacher": None}),
        },
        "components": {
            side: {
                name: {"roles": held, "full_model": _fall(33.3), "circuit_minus_head": None}
                for name, held in found.items()
            }
            for side, found in zip(("teacher", "student"), both, strict=True)
        },
        "table1": [
            {"role": "induction", "teacher": row | {"component": "L1H0", "of": 1}, "student": None},
            {"role": "name-mover", "teacher": row, "student": other},
        ],
    }


RESULTS = {
    "nodes": node_circuit,
    "edges": edge_circuit,
    "deep": lambda: edge_circuit(30, 9, 60, 400, seed=3, name="smollm2"),
    "toy": lambda: edge_circuit(2, 4, 6, 14, seed=4, name="toy-gpt2"),
    "sweep": sweep_result,
    "comparison": comparison_result,
    "node comparison": lambda: comparison_result(edges=False),
    "comparison with roles": lambda: comparison_result() | {"roles": compared_roles()},
}
