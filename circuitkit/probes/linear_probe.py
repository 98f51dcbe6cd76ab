"""Linear probes: logistic regression on standardised activations, judged on held-out content."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from circuitkit.probes.split import Folds

MOST_STEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What probes said of samples that they were not fitted on.

    Attributes:
        said: 1 where every part's class was right and 0 where not; for a ranked target, the decision value.
        control: The same of probes whose fitted labels were shuffled, one row a shuffle.
        stalled: Fits that did not converge.
    """

    said: Float[Tensor, " sample"]
    control: Float[Tensor, "shuffle sample"]
    stalled: int


def fits_per_row(*, n_parts: int, n_folds: int, n_controls: int) -> int:
    """Fits that one row of activations costs."""
    return n_parts * n_folds * (1 + n_controls)


def probe_row(
    activations: Float[Tensor, "sample width"],
    classes: Int[Tensor, "part sample"],
    folds: Folds,
    *,
    ranked: bool,
    n_controls: int,
    strength: float,
    seed: int,
) -> Outcome:
    """Fit and judge the probes of one layer or head, fold after fold.

    In every fold a scaler and a multinomial logistic regression are fitted on the other folds only. The control
    fits the same probe after its labels were shuffled among the fitted samples, and is judged on the true labels:
    what it reaches is chance for these prompts, folds and classes. (Hewitt & Liang 2019 give every word type a
    random label and so measure what a probe can memorise; here the held-out samples share no content with the
    fitted ones, so there is nothing to recognise again.)

    Args:
        activations: One vector a sample.
        classes: Class of every sample; several parts are probed by themselves and count as right together.
        folds: Which samples are held out together.
        ranked: Return decision values of class 1 and not hits: for two classes and one part only.
        n_controls: Shuffles.
        strength: Inverse strength C of the L2 penalty.
        seed: Seed of the shuffles, which are the same for every row.
    """
    x = activations.double().cpu().numpy()
    said = torch.ones(x.shape[0])
    control = torch.ones(n_controls, x.shape[0])
    stalled = 0
    for number in range(folds.n_folds):
        test = (folds.fold == number).numpy()
        scaler = StandardScaler().fit(x[~test])
        fitted, held = (np.asarray(scaler.transform(x[rows])) for rows in (~test, test))
        for at, part in enumerate(classes.numpy()):
            truth = part[test]
            labels = [part[~test]]
            for shuffle in range(n_controls):
                rng = np.random.default_rng([seed, number, at, shuffle])
                labels.append(rng.permutation(part[~test]))
            for which, given in enumerate(labels):
                found, slow = _fit(fitted, given, held, ranked=ranked, strength=strength)
                stalled += slow
                row = said if which == 0 else control[which - 1]
                if ranked:
                    row[test] = torch.from_numpy(found).float()
                else:
                    row[test] *= torch.from_numpy(found == truth).float()
    return Outcome(said=said, control=control, stalled=stalled)


def _fit(
    fitted: np.ndarray, labels: np.ndarray, held: np.ndarray, *, ranked: bool, strength: float
) -> tuple[np.ndarray, bool]:
    """Classes, or decision values, of held-out samples, and whether the fit did not converge."""
    model = LogisticRegression(C=strength, max_iter=MOST_STEPS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(fitted, labels)
    slow = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return np.asarray(model.decision_function(held) if ranked else model.predict(held)), slow
