"""Noise: none changes nothing, more of it lowers the score, and both places of it agree with plain computations."""

import pytest
import torch
from study_pairs import make_pair

from circuitkit.alignment.align import align
from circuitkit.alignment.similarity.heads import cosine_from_products
from circuitkit.alignment.stream import capture_rows
from circuitkit.alignment.summary import leading_eigenvectors
from circuitkit.core.errors import OptionError
from circuitkit.discovery.influence import influence
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.noise import measure_noise
from circuitkit.experiments.noise_compared import compared_activations
from circuitkit.experiments.noise_draws import draw_noise
from circuitkit.experiments.noise_forward import NoisyStudent, plain_sweep
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.interventions.ablation import Ablation

PAIRS = [("toy-gpt2", "toy-distilgpt2"), ("toy-bert", "toy-distilbert"), ("toy-llama", "toy-minitron")]
FEW = {"compared": (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0), "forward": (0.0, 0.05, 0.1, 0.3, 0.6, 2.0)}


@pytest.fixture(scope="module", params=PAIRS, ids=lambda names: names[0])
def pair(request):
    return make_pair(*request.param)


def aligned(pair, **options):
    return align(
        pair.teacher_model,
        pair.student_model,
        pair.task,
        n_prompts=24,
        bootstrap=50,
        controls=False,
        fingerprint=False,
        **options,
    )


def test_no_noise_is_the_alignment_itself(pair):
    found = measure_noise(pair, StudyOptions(levels=(0.0,), repeats=1, where="both"))
    alone = aligned(pair)
    for point in found.at("compared", 0.0):
        assert point.score == alone.score
        assert point.mean_similarity == alone.matching.mean_similarity
    assert found.interval("compared", 0.0) == pytest.approx(alone.scores.ci95, abs=1e-9)
    for point in found.at("forward", 0.0):
        assert point.score == pytest.approx(alone.score, abs=1e-4)


@pytest.mark.parametrize("where", ["compared", "forward"])
def test_the_score_falls_as_noise_grows(pair, where):
    found = measure_noise(pair, StudyOptions(levels=FEW[where], repeats=1, where=where))
    assert found.spearman(where) < -0.9
    assert found.mean(where, 2.0) < 0.6 * found.mean(where, 0.0)
    assert max(found.floor) < found.mean(where, 0.0)


def noisy_activations(pair, noise, kind, layer):
    """Outputs of a student's layer on every prompt with the noise added token by token, and where tokens are."""
    shared, rows = pair.shared, torch.arange(len(pair.batches[1].pairs))
    point = "z" if kind == "z" else "mlp_out"
    found = capture_rows(pair.student_model, pair.batches[1], shared, rows, points=[point], layers=[layer])
    x = found.units.activations(found.found[point][layer])
    return x + getattr(noise, kind)[layer, : x.shape[1]], found.units.present


def test_compared_noise_is_what_adding_it_to_every_activation_gives(pair):
    compared = compared_activations(pair)
    noise = draw_noise(pair.student_model.info, positions=compared.positions, sd=0.4, seed=3)
    found = compared.similarity(noise)
    info = pair.student_model.info
    teacher = pair.summary("teacher", "z", "mlp")
    for layer in range(info.n_layers):
        outputs, present = noisy_activations(pair, noise, "mlp", layer)
        units = outputs[present]
        centred = units - units.mean(0)
        axes = leading_eigenvectors(centred.T @ centred / len(units))
        direct = torch.stack([(t @ axes.T).diagonal().abs().mean() for t in teacher.mlp_axes])
        torch.testing.assert_close(found.mlps[:, layer], direct, atol=1e-6, rtol=0)
    z, present = noisy_activations(pair, noise, "z", 0)
    slot = pair.shared.slot[:, : z.shape[1]]
    own = torch.stack([z[(slot == i) & present.cpu()].mean(0) for i in range(int(slot.max()) + 1)])
    weight = compared.student.slot_weight.sqrt()[:, None, None]
    w_s, w_t = (m.w_o(0).double() for m in (pair.student_model, pair.teacher_model))
    s = torch.einsum("shd,hdm->hsm", weight * own, w_s).flatten(1)
    t = torch.einsum("shd,hdm->hsm", weight * teacher.z[0], w_t).flatten(1)
    expected = cosine_from_products(t @ s.T, t.square().sum(1), s.square().sum(1))
    torch.testing.assert_close(found.heads[: len(t), : len(s)], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("ablation", ["corrupted-mean", "mean", "resample", "zero"])
def test_plain_sweep_is_the_replayed_sweep(pair, ablation):
    batch = pair.batches[1]
    plain = plain_sweep(NoisyStudent(pair.student_model).model, batch, Ablation(ablation))
    replayed = influence(pair.student_model, batch, ablation=ablation, bootstrap=0)
    torch.testing.assert_close(plain.clean, replayed.clean, atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.ablated, replayed.ablated, atol=1e-4, rtol=0)


def test_noise_in_the_run_is_in_what_is_captured_and_leaves_the_student_alone(pair):
    model, block = pair.student_model, pair.batches[1].clean
    noise = draw_noise(model.info, positions=block.ids.shape[1], sd=0.5, seed=0)
    before = model.capture(block.ids, block.mask, ["z", "mlp_out", "pattern"])
    noisy = NoisyStudent(model)
    with noisy.under(noise) as under:
        inside = under.capture(block.ids, block.mask, ["z", "mlp_out"])
        patterns = under.capture(block.ids, block.mask, ["pattern"])["pattern"]
    torch.testing.assert_close(inside["z"][0] - before["z"][0], noise.z[0].float().expand_as(before["z"][0]))
    assert not torch.allclose(patterns[1], before["pattern"][1])  # the second block reads what the first wrote
    torch.testing.assert_close(patterns[0], before["pattern"][0])
    after = model.capture(block.ids, block.mask, ["z", "mlp_out", "pattern"])
    off = noisy.model.capture(block.ids, block.mask, ["z", "mlp_out", "pattern"])
    for point, layers in before.items():
        for layer, x in layers.items():
            assert torch.equal(after[point][layer], x)
            torch.testing.assert_close(off[point][layer], x, atol=1e-5, rtol=1e-4)


def test_relative_noise_does_not_depend_on_the_scale(pair):
    """A noise of one root mean square has the size of what it is added to."""
    compared = compared_activations(pair)
    head, mlp = compared.scales()
    noise = draw_noise(
        pair.student_model.info, positions=compared.positions, sd=1.0, seed=0, head_scale=head, mlp_scale=mlp
    )
    weight = compared.student.slot_weight / compared.student.slot_weight.sum()
    size = (compared.student.z.square().mean(3) * weight[:, None]).sum(1).sqrt()
    torch.testing.assert_close(noise.z.square().mean((1, 3)).sqrt(), size, rtol=0.25, atol=0)
    study = run_study("noise", [pair], StudyOptions(levels=(0.0, 1.0, 4.0), repeats=1, unit="rms"))
    scores = study.frame("levels")["score"]
    assert scores.is_monotonic_decreasing


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    options = StudyOptions(levels=(0.0, 0.5, 1.0), repeats=1, where="forward")
    whole = run_study("noise", [make_pair(n_prompts=8)], options)
    calls = []

    def stop_at_the_second(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain_sweep(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("circuitkit.experiments.noise.plain_sweep", stop_at_the_second)
        run_study("noise", [make_pair(n_prompts=8, resume=tmp_path)], options)
    with monkeypatch.context() as patch:
        patch.setattr(
            "circuitkit.experiments.noise.plain_sweep", lambda *a, **k: calls.append(a) or plain_sweep(*a, **k)
        )
        again = run_study("noise", [make_pair(n_prompts=8, resume=tmp_path)], options)
    assert len(calls) == 4  # the first, the one that was stopped, and the two that were left
    assert again.to_dict() == whole.to_dict()


def test_bad_levels_and_what_has_no_means():
    pair = make_pair(similarity="cka", n_prompts=8, bootstrap=0)
    with pytest.raises(OptionError, match="--where forward"):
        measure_noise(pair, StudyOptions(levels=(0.0,)))
    found = measure_noise(pair, StudyOptions(levels=(0.0,), repeats=1, where="forward"))
    assert found.floor is None
    with pytest.raises(OptionError, match="CKA compares none"):
        measure_noise(pair, StudyOptions(levels=(0.0,), where="forward", unit="rms"))
    with pytest.raises(OptionError, match="from 0 up"):
        measure_noise(pair, StudyOptions(levels=(-1.0,)))


def test_patterns_get_noise_where_patterns_are_compared():
    pair = make_pair(similarity="pattern")
    found = measure_noise(pair, StudyOptions(levels=(0.0, 0.1, 1.0), repeats=1))
    assert found.at("compared", 0.0)[0].score == aligned(pair, similarity="pattern").score
    assert found.mean("compared", 1.0) < found.mean("compared", 0.0)


def test_bands_are_named_for_what_they_are():
    options = StudyOptions(levels=(0.0,), repeats=2)
    for bootstrap, said in ((20, "95% over prompts"), (0, "least to the greatest")):
        study = run_study("noise", [make_pair(n_prompts=8, bootstrap=bootstrap)], options)
        assert said in study.figures["alignment"].note
        assert "A is " in study.findings[0] and "rises" not in study.findings[0]  # one level leads nowhere
