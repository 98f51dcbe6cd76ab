"""Which teacher components a student component stands for, judged by what they do to the answer.

A fingerprint is a vector with one cell for every counterfactual kind and group of positions. Nothing is compared
across models but such effects on the answer: widths, bases, depths and tokenizers do not matter (ALIGNMENT,
"Fingerprint alignment").
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

NOBODY = -1
SMALLEST_GAIN = 1e-9
"""Of the whole mass of both models: less is rounding, for which nobody is matched or moved."""
MOST_SWEEPS = 100


def mass(fingerprints: Float[Tensor, "*rest cell"]) -> Float[Tensor, "*rest"]:
    """Sum of the sizes of effects, in the unit of the effects."""
    return fingerprints.abs().sum(-1)


def shared_mass(one: Float[Tensor, "*#rest cell"], other: Float[Tensor, "*#rest cell"]) -> Float[Tensor, "*rest"]:
    """sh(a, b) = sum |a| + |b| - |a - b|, in the unit of the effects (ALIGNMENT, "Fingerprint alignment").

    Cell by cell twice the smaller of the two sizes where the signs agree, and nothing where they differ.
    """
    return (one.abs() + other.abs() - (one - other).abs()).sum(-1)


def match_merging(
    teacher: Float[Tensor, "draw teacher cell"],
    student: Float[Tensor, "draw student cell"],
    *,
    may: Bool[Tensor, "teacher student"],
) -> Int[Tensor, "draw teacher"]:
    """Seat teacher components at student components, many at one or at none, so that much mass is shared.

    What is to be large is the sum over student components y of sh(f_y, sum of the f_x seated at y). The heaviest
    teacher component is seated first, each where it adds most; then all are unseated and seated again in turn until
    nobody moves. No sweep makes the sum smaller. The seats are a local optimum: no single move makes it larger.
    Against exhaustive search with 4 to 6 teacher and 2 to 4 student components, 150 cases each: where student
    components are sums of the teacher's plus noise, 0 to 18% were below the best, by .011 of F on average at most;
    of unrelated Gaussian fingerprints about half were, by .02 at most.

    Args:
        teacher: Fingerprints of the teacher's components, in each of some draws of prompts.
        student: Fingerprints of the student's, in the same draws.
        may: Which may be matched: those of one type.

    Returns:
        By teacher component the index of the student component, -1 for nobody.
    """
    teacher, student = teacher.double(), student.double()
    n_draws, n_teacher, _ = teacher.shape
    seats = torch.full((n_draws, n_teacher), NOBODY)
    if not student.shape[1] or not n_teacher:
        return seats
    order = mass(teacher).argsort(dim=1, descending=True, stable=True)
    seated = torch.zeros_like(student)
    least = SMALLEST_GAIN * (mass(teacher).sum(1) + mass(student).sum(1))
    active = torch.arange(n_draws)
    for _ in range(MOST_SWEEPS):
        table = _Table(teacher[active], student[active], seated[active], seats[active], least[active])
        before = table.seats.clone()
        for place in range(n_teacher):
            table.seat(order[active, place], may)
        seats[active], seated[active] = table.seats, table.seated
        active = active[(table.seats != before).any(1)]
        if not len(active):
            break
    return seats


class _Table:
    """Who sits where, and what the fingerprints of those at each seat add up to."""

    def __init__(self, teacher: Tensor, student: Tensor, seated: Tensor, seats: Tensor, least: Tensor) -> None:
        self.teacher, self.student, self.seated, self.seats, self.least = teacher, student, seated, seats, least
        self.row = torch.arange(len(teacher))
        self.now = mass(seated) - mass(student - seated)

    def seat(self, who: Int[Tensor, " draw"], may: Bool[Tensor, "teacher student"]) -> None:
        """Unseat one teacher component of each draw, and seat it where it shares most."""
        own, old = self.teacher[self.row, who], self.seats[self.row, who]
        self._move(own, old, sign=-1)
        with_own = self.seated + own[:, None]
        gains = mass(with_own) - mass(self.student - with_own) - self.now
        gains = gains.masked_fill(~may[who], -torch.inf)
        best, new = gains.max(1)
        stays = torch.where(old == NOBODY, 0.0, gains.gather(1, old.clamp(min=0)[:, None])[:, 0])
        new = torch.where(best > stays.clamp(min=0) + self.least, new, torch.where(stays > self.least, old, NOBODY))
        self._move(own, new, sign=1)
        self.seats[self.row, who] = new

    def _move(self, own: Float[Tensor, "draw cell"], seat: Int[Tensor, " draw"], *, sign: int) -> None:
        rows = (seat != NOBODY).nonzero()[:, 0]
        if not len(rows):
            return
        at = rows, seat[rows]
        self.seated[at] += sign * own[rows]
        self.now[at] = mass(self.seated[at]) - mass(self.student[at] - self.seated[at])


def match_one_to_one(
    teacher: Float[Tensor, "draw teacher cell"],
    student: Float[Tensor, "draw student cell"],
    *,
    may: Bool[Tensor, "teacher student"],
) -> Int[Tensor, "draw teacher"]:
    """Pair components one to one so that the shared mass is the greatest possible (Kuhn 1955, by scipy).

    Args:
        teacher: Fingerprints of the teacher's components, in each of some draws of prompts.
        student: Fingerprints of the student's, in the same draws.
        may: Which may be matched: those of one type.

    Returns:
        By teacher component the index of the student component, -1 for nobody and for pairs that share nothing.
    """
    pairs = torch.full(teacher.shape[:2], NOBODY)
    for draw, (theirs, ours) in enumerate(zip(teacher.double(), student.double(), strict=True)):
        shared = torch.where(may, shared_mass(theirs[:, None], ours[None]), 0.0)
        rows, columns = (torch.as_tensor(x) for x in linear_sum_assignment(shared.numpy(), maximize=True))
        kept = shared[rows, columns] > SMALLEST_GAIN * (mass(theirs).sum() + mass(ours).sum())
        pairs[draw, rows[kept]] = columns[kept]
    return pairs


def merged(
    teacher: Float[Tensor, "draw teacher cell"], seats: Int[Tensor, "draw teacher"], n_student: int
) -> Float[Tensor, "draw student cell"]:
    """What the teacher components at each student component add up to; zeros where there are none."""
    out = teacher.new_zeros(len(teacher), n_student + 1, teacher.shape[-1])  # the last seat is nobody's
    seat = torch.where(seats == NOBODY, n_student, seats)
    index = rearrange(seat, "draw teacher -> draw teacher 1").expand_as(teacher)
    return out.scatter_add_(1, index, teacher)[:, :n_student]


def matched_share(
    teacher: Float[Tensor, "draw teacher cell"],
    student: Float[Tensor, "draw student cell"],
    seats: Int[Tensor, "draw teacher"],
) -> Float[Tensor, " draw"]:
    """F = sum_y sh(f_y, sum of the f_x at y) / (sum_x |f_x| + sum_y |f_y|), between 0 and 1; 0 where nothing acts.

    Args:
        teacher: Fingerprints of the teacher's components.
        student: Fingerprints of the student's components.
        seats: By teacher component the index of the student component, -1 for nobody.
    """
    teacher, student = teacher.double(), student.double()
    total = mass(teacher).sum(-1) + mass(student).sum(-1)
    shared = shared_mass(student, merged(teacher, seats, student.shape[1])).sum(-1)
    return torch.where(total > 0, shared / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)
