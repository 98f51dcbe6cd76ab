"""The common form of studies: what is written is read back, and options are checked before anything runs."""

import json
import math

import pytest
from study_pairs import make_pair

from circuitkit.core.errors import OptionError, ResultError
from circuitkit.experiments.catalogue import STUDIES
from circuitkit.experiments.experiment import check_study, experiment, run_study
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Chart, Heatmap, Points, Scatter, Series, figure_dict, read_figure
from circuitkit.experiments.study_options import StudyOptions, level_range, option_names, parse_levels
from circuitkit.experiments.study_table import Column, StudyTable


def example() -> Study:
    table = StudyTable(
        title="numbers",
        columns=(
            Column(name="who", title="who", kind="text"),
            Column(name="x", title="x", unit="logits"),
            Column(name="ends", title="95%", kind="interval"),
            Column(name="n", title="n", kind="count"),
            Column(name="yes", title="yes", kind="flag"),
        ),
        rows=(
            {"who": "a", "x": 1.5, "ends": (1.0, 2.0), "n": 3, "yes": True},
            {"who": "b", "x": math.nan, "ends": (math.inf, 2.0), "n": 4, "yes": False},
            {"who": "c", "x": None, "ends": None, "n": 5, "yes": False},
        ),
        note="a note",
    )
    chart = Chart(
        kind="lines",
        title="lines",
        x_title="x",
        y_title="y",
        series=(
            Series(name="s", x=(0.0, 1.0), y=(1.0, None), low=(0.5, None), high=(1.5, None), who="teacher"),
            Series(name="t", x=(0.0, 1.0), y=(math.nan, 2.0)),
        ),
        levels=(("one", 1.0),),
    )
    heat = Heatmap(
        title="matrix",
        row_title="r",
        column_title="c",
        rows=("a", "b"),
        columns=("x",),
        values=((0.5,), (None,)),
        value_title="v",
        limits=(0.0, 1.0),
        marks=((0, 0),),
    )
    plane = Scatter(
        title="plane",
        x_title="first",
        y_title="second",
        groups=(Points(name="5", x=(1.0, 2.0), y=(0.5, -3.0)), Points(name="6", x=(), y=())),
    )
    return Study(
        name="example",
        title="An example",
        source="nowhere",
        models={"teacher": {"name": "t"}, "student": {"name": "s"}},
        tasks=({"name": "ioi", "n_prompts": 3},),
        findings=("It is found.",),
        caution="Nothing.",
        tables={"numbers": table},
        figures={"lines": chart, "matrix": heat, "plane": plane},
        settings={"seed": 0},
        notices=("a notice",),
        made_with={"command": None, "device": "cpu", "dtype": "float32", "versions": {}},
    )


def test_a_study_is_written_and_read_back(tmp_path):
    study = example()
    path = study.save(tmp_path / "run")
    read = Study.load(path)
    assert read.to_dict() == study.to_dict()
    assert read.frame("numbers").loc[0, "ends"] == (1.0, 2.0)
    record = json.loads((path / "result.json").read_text())
    assert record["tables"]["numbers"]["rows"][1] == {"who": "b", "x": None, "ends": None, "n": 4, "yes": False}
    assert record["figures"]["lines"]["series"][1]["y"] == [None, 2.0]
    assert "It is found." in repr(study)


def test_figures_survive_json():
    for figure in example().figures.values():
        again = read_figure(json.loads(json.dumps(figure_dict(figure), allow_nan=False)))
        assert figure_dict(again) == figure_dict(figure)
        assert type(again) is type(figure)


def test_what_is_missing_is_named(tmp_path):
    study = example()
    with pytest.raises(ResultError, match=r"no table 'other'; it has numbers"):
        study.frame("other")
    path = study.save(tmp_path / "run")
    record = json.loads((path / "result.json").read_text())
    del record["findings"]
    (path / "result.json").write_text(json.dumps(record))
    with pytest.raises(ResultError, match=r"broken \(KeyError: 'findings'\)"):
        Study.load(path)


def test_levels_are_read():
    assert parse_levels("0,0.5,2") == (0.0, 0.5, 2.0)
    assert parse_levels("0:2:0.05") == level_range(0.0, 2.0, 0.05)
    assert len(level_range(0.0, 2.0, 0.05)) == 41
    assert level_range(0.0, 2.0, 0.05)[-1] == 2.0
    assert level_range(0.0, 1.0, 0.4) == (0.0, 0.4, 0.8)
    for text in ("a", "1:2", "0:1:0", "2:1:0.5", "0:1e9:0.1", "1:nan:1", ""):
        with pytest.raises(OptionError, match="--levels"):
            parse_levels(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ()}, "at least one"),
        ({"levels": (1.0, 1.0)}, "each once"),
        ({"levels": (math.inf,)}, "finite"),
        ({"repeats": 0}, "--repeats 0"),
        ({"top": 0}, "--top 0"),
        ({"where": "there"}, "compared, forward, both"),
        ({"unit": "inch"}, "activation, rms"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(OptionError, match=message):
        StudyOptions(**options)


def test_every_study_takes_known_options_and_refuses_others():
    for name, kind in STUDIES.items():
        assert kind.takes <= set(option_names())
        assert kind.title
        assert "Distilled Circuits" in kind.source
        foreign = next(option for option in option_names() if option not in kind.takes)
        value = {"levels": (0.1,), "repeats": 2, "top": 2, "search": "prune", "where": "both", "unit": "rms"}[foreign]
        with pytest.raises(OptionError, match=f"{name!r} does not take --{foreign}"):
            check_study(name, StudyOptions(**{foreign: value}))
    with pytest.raises(OptionError, match="choose one of noise, cross-task"):
        check_study("guess", StudyOptions())
    with pytest.raises(OptionError, match="takes one task; 2 were given. Several go with cross-task, sensitivity"):
        check_study("noise", StudyOptions(), n_tasks=2)


def test_options_are_refused_before_anything_is_measured():
    pair = make_pair(n_prompts=8, bootstrap=0)
    models = pair.teacher_model, pair.student_model
    with pytest.raises(OptionError, match="'speed' of experiment unknown"):
        experiment("noise", *models, pair.task, speed=3)
    with pytest.raises(OptionError, match="No task"):
        experiment("cross-task", *models, [])
    with pytest.raises(OptionError, match="does not take --top"):
        experiment("noise", *models, pair.task, top=3)
    with pytest.raises(OptionError, match="Normalisation 'l3' unknown"):
        experiment("noise", *models, pair.task, normalize="l3")


def test_studies_share_what_was_measured(monkeypatch):
    """After one study, others that need the same sweeps do not run them again."""
    pair = make_pair(n_prompts=8, bootstrap=0)
    run_study("cross-task", [pair])

    def refuse(*args, **kwargs):
        raise AssertionError("swept again")

    monkeypatch.setattr("circuitkit.alignment.comparison.influence", refuse)
    monkeypatch.setattr("circuitkit.experiments.pair.measure_similarity", refuse)
    for name in ("sensitivity", "robustness", "mlp", "qk", "pca", "logit-lens"):
        assert run_study(name, [pair]).name == name
    assert run_study("noise", [pair], StudyOptions(levels=(0.0, 1.0), repeats=1)).findings
