import copy
import math

import fake_run
import pytest
import torch

from circuitkit.core.component import all_components
from circuitkit.reports.alignment_record import AlignmentRecord
from circuitkit.reports.attention import attention_examples
from circuitkit.reports.histogram import drop_histogram
from circuitkit.reports.maps import influence_map
from circuitkit.reports.number_line import LEFT, RIGHT, number_line
from circuitkit.reports.records import read_record
from circuitkit.reports.wiring import wiring


@pytest.fixture
def result():
    return copy.deepcopy(fake_run.alignment_result())


def test_map_holds_every_component_at_its_layer_and_head(result):
    effects = read_record(AlignmentRecord, result).influence.teacher
    heads, mlps = influence_map("m", "teacher", effects, top=1.0).data
    for part in all_components(4, 4):
        cells = mlps["z"][part.layer][0] if part.head is None else heads["z"][part.layer][part.head]
        assert cells == pytest.approx(effects[str(part)].influence)
    assert mlps["x"][0] > heads["x"][-1] + 0.5  # the MLPs' column does not touch the heads


@pytest.mark.parametrize("able", [True, False])
def test_histogram_counts_every_component_once(result, able):
    if not able:
        result["robustness"]["student"] = None
    figure = drop_histogram("h", read_record(AlignmentRecord, result))
    for who, total in (("teacher", 20), ("student", 10)):
        assert sum(sum(trace["y"]) for trace in figure.data if trace["name"].startswith(who)) == total
    assert ("%" in figure.layout["xaxis"]["title"]["text"]) is able


def test_histogram_bars_stand_where_the_drops_are(result):
    figure = drop_histogram("h", read_record(AlignmentRecord, result))
    for who in ("teacher", "student"):
        mean = result[f"{who}_logit_diff"]["mean"]
        drops = [100 * e["drop"] / mean for e in result["influence"][who].values()]
        for trace in (t for t in figure.data if t["name"] == f"{who}: heads"):
            width = trace["width"] / 0.94
            for x, y in zip(trace["x"], trace["y"], strict=True):
                assert sum(x - width / 2 - 1e-6 <= d < x + width / 2 + 1e-6 for d in drops) >= y
                assert math.isclose((x - width / 2) / width, round((x - width / 2) / width), abs_tol=1e-5)


def test_number_line_is_linear_and_reaches_below_zero_when_it_must(result):
    result["alignment"] |= {"score": 0.5, "ci95": [0.25, 1.0]}
    line = number_line(read_record(AlignmentRecord, result).alignment)
    assert line.score == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)
    assert line.span == pytest.approx((LEFT + (RIGHT - LEFT) / 4, RIGHT), abs=0.1)
    assert len(line.randoms) == 5
    result["alignment"] |= {"score": -0.1, "ci95": [-0.2, 0.0]}
    line = number_line(read_record(AlignmentRecord, result).alignment)
    assert line.ticks[0][1] == "\u22121"
    assert LEFT < line.span[0] < line.score < (LEFT + RIGHT) / 2


def test_wires_join_the_names_of_their_pairs(result):
    drawn = wiring(read_record(AlignmentRecord, result))
    left = {node.y: node.name for node in drawn.teacher}
    right = {node.y: node.name for node in drawn.student}
    wanted = {(pair["teacher"], pair["student"]) for pair in result["pairs"]}
    ends = set()
    for wire in drawn.wires:
        start, end = wire.path[1:].split("C")[0], wire.path.rsplit(" ", 1)[1]
        ends.add((left[float(start.split()[1])], right[float(end)]))
    assert ends == wanted
    assert len(left) == len(drawn.teacher) and len(right) == len(drawn.student)
    assert all(0 < node.y < drawn.height for node in (*drawn.teacher, *drawn.student))


def test_wiring_of_a_large_model_shows_the_most_influential_pairs():
    result = fake_run.alignment_result(sizes=(12, 6, 12))
    drawn = wiring(read_record(AlignmentRecord, result))
    ranked = sorted((p["teacher_influence"] for p in result["pairs"]), reverse=True)
    assert (drawn.shown, drawn.total) == (20, 156)
    shown = {node.name for node in drawn.teacher if node.matched}
    assert min(result["influence"]["teacher"][name]["influence"] for name in shown) >= ranked[20]


def test_solid_lines_are_copies(result):
    result["inheritance"]["map"] = {"0": 0, "1": 2}
    result["pairs"] = [
        {**result["pairs"][0], "teacher": t, "student": s}
        for t, s in (("L0H1", "L0H1"), ("L2H1", "L1H1"), ("L2H1", "L1H2"), ("L1H1", "L1H1"), ("MLP2", "MLP1"))
    ]
    drawn = wiring(read_record(AlignmentRecord, result))
    copies = {wire.title.split(":")[0] for wire in drawn.wires if wire.inherited}
    assert copies == {"L0H1 to L0H1", "L2H1 to L1H1", "MLP2 to MLP1"}


def test_attention_names_what_the_answer_position_reads(result):
    record = read_record(AlignmentRecord, result)
    n_heads, n_tokens = len(record.examples[0].heads), len(fake_run.TOKENS)
    tensors = {
        f"example{i}.{who}_patterns": fake_run.patterns(n_heads, n_tokens, seed=i)
        for i in range(2)
        for who in ("teacher", "student")
    }
    tensors["example0.teacher_patterns"][0, -1] = 0.0
    tensors["example0.teacher_patterns"][0, -1, 1] = 1.0
    first = attention_examples(record, tensors)[0]
    assert first.readings[0][0].tokens[0] == (" Mary", 1.0)
    assert first.plain["teacher"]["causal"] is True
    tensors["example0.student_patterns"] = torch.full((n_heads, n_tokens, n_tokens), 1 / n_tokens)
    assert attention_examples(record, tensors)[0].plain["student"]["causal"] is False


def test_long_prompts_are_cut_at_the_front_and_said_to_be(result):
    example = {**result["examples"][0], "teacher_tokens": [str(i) for i in range(60)]}
    result["examples"] = [example]
    tensors = {
        "example0.teacher_patterns": fake_run.patterns(6, 60, seed=0),
        "example0.student_patterns": fake_run.patterns(6, len(fake_run.TOKENS), seed=0),
    }
    drawn = attention_examples(read_record(AlignmentRecord, result), tensors)[0]
    assert drawn.left_out == (12, 0)
    assert drawn.plain["teacher"]["tokens"][-1] == "59" and len(drawn.plain["teacher"]["patterns"][0]) == 48
