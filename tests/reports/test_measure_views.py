"""What notebooks show of label maps, principal components, similarities and the lens: every number as measured."""

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from tiny_tasks import labelled

from circuitkit.core.errors import ResultError
from circuitkit.probes.geometry import label_maps
from circuitkit.probes.logit_lens import logit_lens
from circuitkit.probes.mlp_similarity import mlp_similarity
from circuitkit.probes.pca import mlp_pca
from circuitkit.reports.jupyter import load_ipython_extension
from circuitkit.reports.measure_views import label_maps_html, logit_lens_html, mlp_pca_html, mlp_similarity_html

LENGTHS = ((5, 5, 5), (8, 7, 6))


@pytest.fixture(scope="module")
def show():
    """What a notebook shows of a result, as a tree."""
    core = pytest.importorskip("IPython.core.formatters")
    formatter = core.HTMLFormatter()
    load_ipython_extension(SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter})))

    def call(result):
        text = formatter(result)
        assert text is not None and len(text) < 100_000
        tree = ElementTree.fromstring(text.replace("&nbsp;", " "))
        assert not {"script", "style"} & {element.tag for element in tree.iter()}
        return tree

    return call


def tables(tree):
    return [[["".join(cell.itertext()) for cell in row] for row in table.find("tbody")] for table in tree.iter("table")]


def number(text):
    return float(text.replace("\u2212", "-"))


def test_label_maps(show, tiny_model):
    found = label_maps(tiny_model, labelled(tiny_model, LENGTHS))
    frame, tree = found.frame(), show(found)
    attention, scores, strongest = tables(tree)
    assert [row[0] for row in strongest] == frame["component"][: len(strongest)].tolist()
    assert [number(row[3]) for row in strongest] == pytest.approx(frame["attention"][:10].tolist(), abs=6e-4)
    names = [str(c) for c in found.components]
    for grid, values in ((attention, found.pattern), (scores, found.scores)):
        for head, *cells in grid:
            expected = values[names.index(head), -1].tolist()
            assert [number(cell) for cell in cells] == pytest.approx(expected, abs=6e-3)
    assert frame["component"][0] in tree.find("p").text


def test_components(show, tiny_model):
    batch = labelled(tiny_model, LENGTHS)
    found = mlp_pca((tiny_model, tiny_model), (batch, batch), (0, 1))
    tree = show(found)
    cosines, shares = tables(tree)
    assert [[number(x) for x in row[1:]] for row in cosines] == [
        pytest.approx(row, abs=6e-3) for row in found.cosines.tolist()
    ]
    assert [number(row[1]) for row in shares] == pytest.approx(found.teacher_variance.tolist(), abs=6e-4)
    assert [number(row[2]) for row in shares] == pytest.approx(found.student_variance.tolist(), abs=6e-4)
    planes = list(tree.iter("svg"))
    for plane, points in zip(planes, (found.teacher, found.student), strict=True):
        told = sorted(
            tuple(float(x) for x in c.find("title").text.rsplit(": ", 1)[1].split(", ")) for c in plane.iter("circle")
        )
        assert [x for point in told for x in point] == pytest.approx(
            [x for point in sorted(points[:, :2].tolist()) for x in point], abs=6e-4
        )


def test_similarities(show, tiny_model):
    batch = labelled(tiny_model, LENGTHS)
    found = mlp_similarity((tiny_model, tiny_model), (batch, batch))
    (grid,) = tables(show(found))
    for i, (_, *cells) in enumerate(grid):
        assert [number(cell.removesuffix("\u2605")) for cell in cells] == pytest.approx(
            found.values[i].tolist(), abs=6e-3
        )
        assert [cell.endswith("\u2605") for cell in cells].index(True) == int(found.values[i].argmax())


def test_the_lens(show, tiny_model):
    found = logit_lens(tiny_model, labelled(tiny_model, LENGTHS))
    tree = show(found)
    (differences,), stages = tables(tree)
    means = found.logit_diff.double().mean(1).tolist()
    assert [number(cell) for cell in differences[1:]] == pytest.approx(means, abs=6e-3)
    assert [row[0] for row in stages] == list(found.stages)
    assert [number(row[1]) for row in stages] == pytest.approx(means, abs=6e-3)
    ranks = (found.rank.median(1).values + 1).tolist()
    assert [int(row[2].replace("\u202f", "")) for row in stages] == ranks
    assert ("post-LN" in "".join(tree.itertext())) is not tiny_model.is_causal


def test_many_answers_share_a_colour(tiny_models):
    model = tiny_models["gpt2"]
    record = mlp_pca((model, model), (labelled(model, LENGTHS),) * 2, (0, 0)).to_dict()
    many = {**record, "answers": [str(i) for i in range(12)]}
    many |= {side: [[float(i), 0.0, 0.0] for i in range(12)] for side in ("teacher", "student")}
    tree = ElementTree.fromstring(mlp_pca_html(many))
    titles = [c.find("title").text for c in next(tree.iter("svg")).iter("circle")]
    assert sum(title.startswith("others") for title in titles) == 5 and len(titles) == 12
    hostile = {**record, "answers": ["<script>"] * len(record["answers"])}
    assert "script" not in {element.tag for element in ElementTree.fromstring(mlp_pca_html(hostile)).iter()}


@pytest.mark.parametrize("view", [label_maps_html, mlp_pca_html, mlp_similarity_html, logit_lens_html])
def test_what_is_no_such_result_is_named(view):
    with pytest.raises(ResultError) as error:
        view({"labels": []})
    assert "\n" not in str(error.value)
