"""What notebooks show of roles, patching maps, probes and studies: the measured numbers, in plain HTML."""

import copy
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import circuitkit as ck
from circuitkit.core.errors import ResultError
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.reports.jupyter import load_ipython_extension
from circuitkit.reports.numerals import fixed
from circuitkit.reports.patching_summary import patching_summary
from circuitkit.reports.probe_summary import probe_summary
from circuitkit.reports.role_summary import role_summary
from circuitkit.reports.study_summary import study_summary
from circuitkit.reports.value_grid import MOST_COLUMNS, contrast, number_cell, value_cell
from circuitkit.roles.catalogue import ROLES

HOSTILE = "<img src=x onerror=alert(1)>"
VIEWS = {"roles": role_summary, "patching": patching_summary, "probes": probe_summary, "study": study_summary}


@pytest.fixture(scope="module")
def measured():
    model, ioi = ck.load_model("toy-distilgpt2"), ck.load_task("ioi")
    levels = StudyOptions(levels=(0.0, 1.0), repeats=2)
    return {
        "roles": ck.find_roles(model, ioi, n_prompts=32, bootstrap=50),
        "patching": ck.activation_patching(model, ioi, n_prompts=8, bootstrap=50),
        "probes": ck.probe(model, ioi, targets=["S1"], n_prompts=400, controls=1, bootstrap=0),
        "study": ck.experiment("noise", model, model, ioi, n_prompts=8, bootstrap=50, options=levels),
    }


def parsed(text):
    return ElementTree.fromstring(text.replace("&nbsp;", " "))


def grids(tree):
    """The shaded tables: name -> row -> column -> cell."""
    found = {}
    for table in tree.findall("div/table"):
        columns = [cell.text for cell in table.findall("thead/tr/th")][1:]
        found[table.find("caption").text] = {
            row.find("th").text: dict(zip(columns, row.findall("td"), strict=True)) for row in table.findall("tbody/tr")
        }
    return found


def rows(tree):
    """The cells of the first plain table."""
    return [[cell.text for cell in row] for row in tree.find("table/tbody")]


@pytest.mark.parametrize("kind", VIEWS)
def test_views_have_no_scripts_and_say_the_headline(kind, measured):
    text = VIEWS[kind](measured[kind].to_dict())
    tree = parsed(text)
    assert not {"script", "style", "link", "img"} & {element.tag for element in tree.iter()} and len(text) < 40_000
    headline = tree.find("p").text
    assert "ioi" in headline if kind != "study" else headline == measured[kind].title


def _shown(result, name, role):
    """The role as it is written: with what it does to the task where it may help or hurt."""
    return role if ROLES[role].helps else f"{role} ({result.scores[name][role]['effect']})"


def test_roles_show_every_component_and_every_claim(measured):
    result = measured["roles"]
    tree = parsed(role_summary(result.to_dict()))
    (grid,) = grids(tree).values()
    assert [*grid] == ["0", "1"] and [*grid["1"]] == ["head 0", "head 1", "head 2", "head 3", "MLP"]
    for name, held in result.roles.items():
        component = ck.Component.parse(name)
        cell = grid[str(component.layer)]["MLP" if component.head is None else f"head {component.head}"]
        assert (cell.text or "") == ", ".join(_shown(result, name, role) for role in held)
        assert cell.get("title").startswith(f"{name}: ")
    claims = [(name, _shown(result, name, role)) for name, held in result.roles.items() for role in held]
    assert claims and {tuple(row[:2]) for row in rows(tree)} == set(claims)
    values = result.influence.table()
    assert [row[-1] for row in rows(tree)] == sorted(
        (fixed(values[n]["influence"], 3) for n, _ in claims), reverse=True
    )


def test_patching_shows_every_cell_and_the_largest(measured):
    result = measured["patching"]
    tree = parsed(patching_summary(result.to_dict()))
    cells = {row: columns for grid in grids(tree).values() for row, columns in grid.items()}
    assert [*cells] == [row.name for row in result.rows]
    for row, values in zip(result.rows, result.shares.tolist(), strict=True):
        assert [cells[row.name][p].text for p in result.positions] == [fixed(value) for value in values]
    effects = result.mean_effects[:, :-1]
    row, position = divmod(effects.abs().argmax().item(), effects.shape[1])
    assert rows(tree)[0][:3] == [
        result.rows[row].name,
        result.positions[position],
        fixed(effects[row, position].item()),
    ]


def test_large_patching_maps_are_cut_to_the_largest_effects(measured):
    result = measured["patching"].to_dict()
    head = next(row for row in result["rows"] if row["part"] == "head")
    many = {f"L{n}H0": copy.deepcopy(result["effects"][head["name"]]) for n in range(30)}
    for n, places in enumerate(many.values()):
        for cell in places.values():
            cell["effect"] = cell["share"] = n / 100
    result |= {"rows": [{**head, "name": name} for name in many], "effects": many}
    text = patching_summary(result)
    (grid,) = grids(parsed(text)).values()
    assert [*grid] == [f"L{n}H0" for n in range(6, 30)] and "The other 6" in text


def test_probes_show_layers_or_heads(measured):
    result = measured["probes"]
    tree = parsed(probe_summary(result.to_dict()))
    (curve,) = result.curves
    ((name, grid),) = grids(tree).items()
    assert name == "toy-distilgpt2: accuracy on held-out prompts"
    assert {column: cell.text for column, cell in grid["S1"].items()} == {
        row.row.name: fixed(row.value) for row in curve.rows
    }
    assert rows(tree)[0][0] == "S1" and rows(tree)[0][3] == curve.best.row.name
    by_head = result.to_dict()
    base, *layers = by_head["curves"][0]["rows"]
    by_head["curves"][0] |= {
        "rows": [base, *({**row, "name": f"L{row['layer']}H{h}", "head": h} for row in layers for h in range(2))],
        "decodable_from": None,
        "best": base["name"],
    }
    (grid,) = grids(parsed(probe_summary(by_head))).values()
    for row in layers:
        assert [cell.text for cell in grid[str(row["layer"])].values()] == [fixed(row["value"])] * 2


def test_studies_show_findings_figures_and_tables(measured):
    study = measured["study"]
    tree = parsed(study_summary(study.to_dict()))
    assert tree.findall("p")[1].text.split() == " ".join(study.findings).split()
    (chart,) = study.figures.values()
    ((name, grid),) = grids(tree).items()
    assert name.startswith(chart.title) and [*grid] == [series.name for series in chart.series]
    for series in chart.series:
        assert [*grid[series.name]] == ["0", "1"]
        assert [cell.text for cell in grid[series.name].values()] == [fixed(y) for y in series.y]
    frame = study.frame("levels")
    assert len(rows(tree)) == len(frame)
    assert fixed(frame["score"][1], 3) in rows(tree)[1]


def test_matrices_bars_and_long_tables_of_studies(measured):
    result = measured["study"].to_dict()
    bars = {
        "kind": "bars",
        "title": "By task",
        "x_title": "task",
        "y_title": "A",
        "note": "Bars.",
        "levels": [["x", 2]],
    }
    series = [{"name": "one", "x": ["b"], "y": [-0.25]}, {"name": "two", "x": ["a", "b"], "y": [None, 0.5]}]
    matrix = {"kind": "heatmap", "title": "M", "row_title": "r", "column_title": "c", "rows": ["r0", "r1"]}
    matrix |= {"columns": ["c0"], "values": [[0.5], [None]], "value_title": "v", "limits": [-1, 1], "marks": [[0, 0]]}
    table = result["tables"]["draws"]
    table["rows"] = table["rows"] * 4
    result |= {"figures": {"bars": {**bars, "series": series}, "matrix": matrix}, "tables": {"draws": table}}
    text = study_summary(result)
    first, second = grids(parsed(text)).values()
    shown = {name: [(column, cell.text) for column, cell in row.items()] for name, row in first.items()}
    assert shown == {"one": [("b", "\u22120.25"), ("a", "\u2013")], "two": [("b", "0.50"), ("a", "\u2013")]}
    assert [row["c0"].text for row in second.values()] == ["0.50 \u2605", "\u2013"]
    assert "x: 2.000." in text and "Bars." not in text and "pointed at" not in text
    assert f"the first 10 of {len(table['rows'])} rows" in text
    matrix["values"] = [[0.5]]
    with pytest.raises(ResultError, match="do not fit"):
        study_summary(result)


def test_hostile_names_are_escaped_and_broken_results_named(measured):
    for kind, view in VIEWS.items():
        result = copy.deepcopy(measured[kind].to_dict())
        if kind == "study":
            result["title"] = result["findings"][0] = HOSTILE
        else:
            result["model"]["name"] = HOSTILE
        result["warnings"] = [HOSTILE]
        assert "img" not in {element.tag for element in parsed(view(result)).iter()}
        lost = "findings" if kind == "study" else "task"
        with pytest.raises(ResultError, match=lost):
            view({key: value for key, value in result.items() if key != lost})


def test_a_running_notebook_gets_them(measured):
    core = pytest.importorskip("IPython.core.formatters")
    formatter = core.HTMLFormatter()
    load_ipython_extension(SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter})))
    for kind, view in VIEWS.items():
        assert formatter(measured[kind]) == view(measured[kind].to_dict())


@given(st.floats(-2, 2))
def test_numbers_can_be_read_on_every_shade(share):
    cell = value_cell("0.5", share, title="")
    fill, ink = (tuple(map(int, css.removeprefix("rgb(").rstrip(")").split(","))) for css in (cell.fill, cell.ink))
    assert contrast(fill, ink) >= 4.5
    red, _, blue = fill
    assert (blue >= red) == (share >= 0) or abs(share) < 0.05


def test_contrast_is_that_of_the_standard():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((0x77, 0x77, 0x77), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


def test_beside_many_others_a_number_is_left_out():
    assert number_cell(0.5, 0.5, title="", n_columns=MOST_COLUMNS).text == "0.50"
    assert number_cell(0.5, 0.5, title="", n_columns=MOST_COLUMNS + 1).text == ""
    assert number_cell(None, 0.5, title="", n_columns=1).text == "\u2013"
