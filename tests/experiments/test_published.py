"""The published figures in the package are those of the public list of reference values, to the last digit."""

import json

import pytest

from circuitkit.experiments.published.figures import FILE, published


def followed(record, key):
    for part in (part.replace("~1", "/") for part in key.split("/")):
        record = record[int(part)] if isinstance(record, list) else record[part]
    return record


@pytest.mark.public_data
def test_every_figure_is_the_public_one(public_data):
    record = json.loads((public_data / "reference_values.json").read_text())
    for figure in published().figures:
        assert figure.value == followed(record, figure.key), figure.key
        if figure.ci95 is not None:
            assert figure.key.endswith("/0")
            assert list(figure.ci95) == followed(record, figure.key.rsplit("/", 1)[0])[1:3]
        assert figure.key.startswith("paper/" if figure.printed == "paper" else "notebooks/")
    known = {entry["id"]: {k: v for k, v in entry.items() if k != "id"} for entry in record["_discrepancies"]}
    assert published().discrepancies == known
    assert len(known) == 24


def test_figures_can_be_told_apart():
    figures = published().figures
    assert len({figure.key for figure in figures}) == len(figures)
    names = {(f.quantity, f.pair, f.task, f.side, f.component, f.variant, f.printed) for f in figures}
    assert len(names) == len(figures)
    for figure in figures:
        assert set(figure.discrepancies) <= set(published().discrepancies)
        assert figure.pair in published().pairs
        assert figure.side in (None, "teacher", "student")
        assert figure.source
        assert figure.definition
    assert "machine" not in FILE.read_text()


def test_table_2_and_brittleness_as_printed():
    found = {(f.quantity, f.side): f for f in published().of_pair("gpt2/distilgpt2") if f.printed == "paper"}
    assert (found["mean_drop", "teacher"].value, found["mean_drop", "student"].value) == (3.0561, 12.2401)
    gap = found["mean_drop", "student"].value - found["mean_drop", "teacher"].value
    assert found["drop_difference", None].value == pytest.approx(gap, abs=5e-5)
    # App. L rounds C to 33.9% and divides by a C with more digits
    assert found["brittleness", None].value == pytest.approx(gap / (found["compression", None].value / 100), rel=0.01)


def test_the_pair_to_set_beside():
    pairs = published()
    same = pairs.pair_like("openai-community/gpt2", "distilgpt2", ("gpt2", "gpt2"))
    other = pairs.pair_like("toy-bert", "toy-distilbert", ("bert", "distilbert"))
    assert same is not None and other is not None
    assert (same[0].name, same[1]) == ("gpt2/distilgpt2", True)
    assert (other[0].name, other[1]) == ("bert/distilbert", False)
    assert pairs.pair_like("a", "b", ("llama", "gpt2")) is None
