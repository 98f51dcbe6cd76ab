"""Pages of activation patching: what they say, and that a broken run is named."""

import copy

import pytest
from html_page import Page

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import save_run
from circuitkit.reports.html import report
from circuitkit.reports.patching_figures import MOST_ROWS, patching_map
from circuitkit.reports.patching_record import PatchingRecord
from circuitkit.reports.patching_verdict import patching_verdict
from circuitkit.reports.records import read_record

POSITIONS = ("n1", "n4", "END", "all tokens")
SHARES = {  # the answer moves from n4 to END in block1
    "embed": (0.0, 0.9, 0.0, 1.0),
    "block0": (0.1, 0.7, 0.2, 1.0),
    "block1": (0.0, 0.1, 0.8, 1.0),
    "block2": (0.0, 0.0, 1.0, 1.0),
    "L0H1": (0.0, -0.2, 0.3, 0.1),
}


def made(*, clear=True, direction="denoise", shares=SHARES):
    gap = 4.0
    cells = {
        row: {
            name: {
                "effect": value * gap,
                "ci95": [value * gap - 0.1, value * gap + 0.1],
                "share": value if clear else None,
                "share_ci95": None,
                "layer_ratio": None,
            }
            for name, value in zip(POSITIONS, values, strict=True)
        }
        for row, values in shares.items()
    }
    return {
        "schema": "circuitkit.patching/1",
        "model": {"name": "some/model", "family": "gpt2", "n_layers": 3, "n_heads": 2},
        "task": {"name": "numerals", "n_prompts": 8},
        "settings": {"seed": 0},
        "direction": direction,
        "logit_diff": {"mean": 5.0, "ci95": [4.0, 6.0], "accuracy": 1.0},
        "corrupted_logit_diff": {"mean": 1.0, "ci95": None, "accuracy": 0.5},
        "gap": {"mean": gap, "ci95": None, "clear": clear},
        "rows": [{"name": row, "part": "head" if row.startswith("L") else "block", "layer": 0} for row in shares],
        "positions": [{"name": name, "n_prompts": 8} for name in POSITIONS],
        "effects": cells,
        "lens": {
            "additive": True,
            "stages": [
                {"stage": "embed", "logit_diff": -1.0, "median_rank": 40, "top1": 0.0, "top_words": []},
                {
                    "stage": "block0",
                    "logit_diff": 5.0,
                    "median_rank": 0,
                    "top1": 1.0,
                    "top_words": [{"text": " <5>", "n_prompts": 8}],
                },
            ],
        },
        "warnings": ["One <warning>."],
    }


def test_page_tells_where_the_answer_moves(tmp_path):
    text = report(save_run(tmp_path / "run", made(), {}, {})).read_text(encoding="utf-8")
    page = Page(text)
    assert (
        "On numerals, the stream at END restores 80% of the answer behind block1; one stage before, n4 does most (70%)."
        in " ".join("".join(page.text).split())
    )
    assert "One &lt;warning&gt;." in text and "&lt;5&gt;" in text
    rows = [row for row in page.rows if row and row[0] == "block1"]
    assert ["block1", "END", "3.20", "3.10 to 3.30", "0.80", "–", "–"] in rows
    assert [a["id"] for tag, a in page.tags if a.get("class") == "plot"] == ["map-block", "map-head", "lens"]


def test_verdicts_follow_the_numbers():
    def headline(**options):
        return patching_verdict(read_record(PatchingRecord, made(**options))).headline

    assert "takes away 80%" in headline(direction="noise")
    assert "nothing to move" in headline(clear=False)
    early = {"embed": (0.0, 0.1, 0.9, 1.0), "block0": (0.0, 0.0, 1.0, 1.0)}
    assert "from the start" in headline(shares=early)
    assert headline(shares={"L0H1": (0.0, -0.2, 0.3, 0.1)}).startswith("On numerals, L0H1 at END does most: 1.20 of 4")
    numbered = made()
    for cells in numbered["effects"].values():
        cells["22 in"], cells["18"] = cells.pop("END"), cells.pop("n4")
    numbered["positions"] = [{"name": name, "n_prompts": 8} for name in ("n1", "18", "22 in", "all tokens")]
    told = patching_verdict(read_record(PatchingRecord, numbered)).headline
    assert "the stream at position 22 (\u201cin\u201d)" in told and "position 18 does most" in told
    late = {"embed": (0.1, 0.2, 0.4, 1.0), "block0": (0.0, 0.0, 1.0, 1.0)}
    assert "first holds most" in headline(shares=late)


def test_small_effects_look_small_and_large_maps_are_cut():
    record = read_record(PatchingRecord, made(shares={"L0H1": (0.0, 0.01, 0.02, 0.9)}))
    assert patching_map("head", record)[0].layout["coloraxis"]["cmax"] == 0.2
    many = {f"L{n}H0": (0.0, 0.0, n / 100, 0.5) for n in range(MOST_ROWS + 7)}
    figure, left_out = patching_map("head", read_record(PatchingRecord, made(shares=many)))
    assert left_out == 7
    assert figure.layout["yaxis"]["ticktext"] == [f"L{n}H0" for n in range(7, MOST_ROWS + 7)]


def test_a_place_without_a_share_is_blank_in_a_map_of_shares():
    result = made()
    for cells in result["effects"].values():
        cells["n1"] |= {"share": None, "effect": 50.0}
    figure, _ = patching_map("block", read_record(PatchingRecord, result))
    assert [row[0] for row in figure.data[0]["z"]] == [None] * 4 and figure.data[0]["text"][0][0] == ""
    assert figure.layout["coloraxis"]["cmax"] == 1.0  # 50 logits are no 50 shares
    assert "n1 50.00 logits" in figure.label


def test_one_prompt_makes_no_headline():
    result = made(clear=False)
    result["task"]["n_prompts"] = 1
    assert "One prompt of numerals cannot show" in patching_verdict(read_record(PatchingRecord, result)).headline


@pytest.mark.parametrize("lost", ["gap", "lens", "rows", "cell"])
def test_broken_runs_are_named(lost, tmp_path):
    result = copy.deepcopy(made())
    if lost == "cell":
        del result["effects"]["block1"]["END"]
    else:
        del result[lost]
    with pytest.raises(ResultError, match="the effect of block1 at END is missing" if lost == "cell" else lost):
        report(save_run(tmp_path / "run", result, {}, {}))
