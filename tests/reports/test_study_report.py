"""The page of a study: every finding, table and figure is in it, broken ones are named, nothing is taken for markup."""

import json
from xml.etree import ElementTree

import pytest

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import Run
from circuitkit.reports.html import render
from circuitkit.reports.study_charts import chart_figure
from circuitkit.reports.study_record import ChartRecord
from circuitkit.reports.study_summary import study_summary

CARD = {"family": "gpt2", "n_layers": 2, "n_heads": 2, "d_model": 8, "n_params": 10, "weights_sha256": "0" * 64}


def study() -> dict:
    return {
        "schema": "circuitkit.experiment/1",
        "name": "noise",
        "title": "Does <it> fall?",
        "source": "a paper",
        "models": {"teacher": {**CARD, "name": "big"}, "student": {**CARD, "name": "</script>small"}},
        "tasks": [{"name": "ioi", "n_prompts": 24, "n_dropped": 0, "dropped": []}],
        "settings": {"seed": 0},
        "command": "circuitkit experiment noise big small",
        "device": "cpu",
        "dtype": "float32",
        "versions": {},
        "findings": ["It falls from 0.5 to 0.1."],
        "caution": "Little.",
        "warnings": ["Beware of <b>this</b>."],
        "tables": {
            "levels": {
                "title": "All levels",
                "note": "a note",
                "columns": [
                    {"name": "sd", "title": "sd", "kind": "number", "unit": "units", "digits": 2},
                    {"name": "a", "title": "A", "kind": "number", "unit": None, "digits": 3},
                    {"name": "ci", "title": "95%", "kind": "interval", "unit": None, "digits": 3},
                    {"name": "n", "title": "n", "kind": "count", "unit": None, "digits": 3},
                    {"name": "best", "title": "best", "kind": "flag", "unit": None, "digits": 3},
                    {"name": "empty", "title": "never shown", "kind": "number", "unit": None, "digits": 3},
                ],
                "rows": [
                    {"sd": 0.0, "a": 0.5, "ci": [0.45, 0.55], "n": 1234, "best": True, "empty": None},
                    {"sd": 1.0, "a": -0.125, "ci": None, "n": 2, "best": False, "empty": None},
                ],
            }
        },
        "figures": {
            "lines": {
                "kind": "lines",
                "title": "A over sd",
                "x_title": "sd",
                "y_title": "A",
                "series": [
                    {
                        "name": "A",
                        "x": [0, 1],
                        "y": [0.5, 0.1],
                        "low": [0.4, None],
                        "high": [0.6, None],
                        "who": "teacher",
                    },
                    {"name": "null", "x": [0, 1], "y": [0.1, None], "low": None, "high": None, "who": "null"},
                ],
                "levels": [["noise alone", 0.05]],
                "note": "bars",
            },
            "bars": {
                "kind": "bars",
                "title": "By task",
                "x_title": "task",
                "y_title": "A",
                "series": [{"name": "A", "x": ["ioi"], "y": [0.5], "low": [0.4], "high": [0.6], "who": "student"}],
                "levels": [],
                "note": "",
            },
            "matrix": {
                "kind": "heatmap",
                "title": "A matrix",
                "row_title": "teacher",
                "column_title": "student",
                "rows": ["MLP0", "MLP1"],
                "columns": ["MLP0"],
                "values": [[0.25], [None]],
                "value_title": "similarity",
                "limits": [-1, 1],
                "marks": [[0, 0]],
                "note": "",
            },
            "plane": {
                "kind": "scatter",
                "title": "A plane",
                "x_title": "first",
                "y_title": "second",
                "groups": [
                    {"name": "<b>5</b>", "x": [1.0, 2.0], "y": [0.5, -3.25]},
                    {"name": "6", "x": [0.0], "y": [0.125]},
                ],
                "note": "Coloured.",
            },
        },
    }


def data_of(text: str) -> dict:
    start = text.index('id="report-data">') + len('id="report-data">')
    return json.loads(text[start : text.index("</script>", start)])


def test_everything_is_on_the_page(tmp_path):
    text = render(Run(path=tmp_path, result=study(), tensors={}))
    for wanted in (
        "Does &lt;it&gt; fall?",
        "It falls from 0.5 to 0.1.",
        "Beware of &lt;b&gt;this&lt;/b&gt;.",
        "0.450 to 0.550",
        "1\u202f234",
        "\u22120.125",
        "A over sd",
        "A matrix",
        "circuitkit experiment noise big small",
        "sd, units",
        "&lt;/script&gt;small",
    ):
        assert wanted in text
    assert "never shown" not in text
    figures = data_of(text)["figures"]
    assert [figure["id"] for figure in figures] == ["figure-0", "figure-1", "figure-2", "figure-3"]
    assert all(f'id="{figure["id"]}"' in text for figure in figures)
    line = figures[0]["data"][0]
    assert line["y"] == [0.5, 0.1]
    assert line["error_y"]["arrayminus"] == [pytest.approx(0.1), 0.0]
    assert figures[0]["layout"]["shapes"][0]["y0"] == 0.05
    assert figures[1]["data"][0]["error_y"]["array"] == [pytest.approx(0.1)]
    assert figures[2]["data"][0]["z"] == [[0.25], [None]]
    assert figures[2]["data"][0]["text"] == [["0.25 \u2605"], [""]]
    plane = figures[3]
    assert [(t["name"], t["x"], t["y"]) for t in plane["data"]] == [
        ("<b>5</b>", [1.0, 2.0], [0.5, -3.25]),
        ("6", [0.0], [0.125]),
    ]
    assert len({t["marker"]["color"] for t in plane["data"]}) == 2
    assert plane["layout"]["yaxis"]["scaleanchor"] == "x" and plane["layout"]["yaxis"]["scaleratio"] == 1


def test_logarithmic_axes_refuse_what_they_cannot_show():
    chart = {**study()["figures"]["lines"], "log_y": True}
    drawn = chart_figure("f", ChartRecord.model_validate(chart))
    assert drawn.layout["yaxis"]["type"] == "log"
    assert "type" not in chart_figure("f", ChartRecord.model_validate({**chart, "log_y": False})).layout["yaxis"]


def test_notebooks_show_planes_as_drawings():
    """Every point is a circle with its place in words; one unit is as long across as up, and up is up."""
    tree = ElementTree.fromstring(study_summary(study()).replace("&nbsp;", " "))
    assert "script" not in {element.tag for element in tree.iter()}
    circles = list(tree.iter("circle"))
    assert [c.find("title").text for c in circles] == [
        "<b>5</b>: 1.000, 0.500",
        "<b>5</b>: 2.000, -3.250",
        "6: 0.000, 0.125",
    ]
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in circles]
    assert len({c.get("fill") for c in circles}) == 2
    across, down = places[1][0] - places[0][0], places[1][1] - places[0][1]
    assert down / across == pytest.approx(3.75, abs=0.01)
    assert all(0 <= x <= 274 and 0 <= y <= 250 for x, y in places)


def test_many_points_have_a_band():
    xs = [float(i) for i in range(41)]
    series = {"name": "A", "x": xs, "y": xs, "low": [x - 1 for x in xs], "high": [x + 1 for x in xs], "who": "teacher"}
    chart = {**study()["figures"]["lines"], "series": [series]}
    drawn = chart_figure("f", ChartRecord.model_validate(chart))
    assert [trace.get("name") for trace in drawn.data] == [None, None, "A"]
    assert drawn.data[0]["y"][0] == -1
    assert drawn.data[1]["y"][0] == 1


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda r: r.pop("findings"), "findings"),
        (lambda r: r["figures"]["matrix"].update(values=[[1.0]]), "do not fit its rows"),
        (lambda r: r["figures"]["lines"]["series"][0].update(y=[1.0]), "not as many"),
        (lambda r: r["figures"]["lines"].update(kind="pie"), "figures.lines"),
        (lambda r: r["figures"]["plane"]["groups"][0].update(y=[1.0]), "not as many"),
        (lambda r: r["figures"]["plane"].update(groups=[]), "figures.plane"),
        (
            lambda r: (
                r["figures"]["lines"].update(log_y=True),
                r["figures"]["lines"]["series"][0].update(y=[0.0, 1.0]),
            ),
            "logarithmic",
        ),
        (lambda r: r["tables"]["levels"]["rows"][0].update(a="much"), "'much' is no number"),
        (lambda r: r.update(models={}), "models"),
    ],
)
def test_a_broken_study_is_named(tmp_path, break_it, message):
    result = study()
    break_it(result)
    with pytest.raises(ResultError, match=message) as error:
        render(Run(path=tmp_path, result=result, tensors={}))
    assert "\n" not in str(error.value)
