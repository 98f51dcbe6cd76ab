"""Tables of roles written by hand, and what became of each role worked out by hand."""

from hypothesis import given
from hypothesis import strategies as st

from circuitkit.experiments.role_changes import Merge, Partner, RoleMatch, RoleTable, role_changes

ORDER = ("previous-token", "duplicate-token", "induction", "name-mover", "successor", "copy")
TEACHER = RoleTable(
    held={
        "duplicate-token": ["L0H1", "L0H2", "L1H0"],
        "induction": ["L2H0"],
        "name-mover": ["L3H1", "L3H2"],
        "copy": ["L3H1"],
    },
    tested={"previous-token", "duplicate-token", "induction", "name-mover", "successor"},
)
STUDENT = RoleTable(
    held={"duplicate-token": ["L0H0", "L0H3"], "name-mover": ["L1H3"], "successor": ["L1H1"], "copy": []},
    tested=set(ORDER) - {"copy"},
)
PARTNERS = {
    "L0H1": Partner(student="L0H0", similarity=0.9),
    "L0H2": Partner(student="L0H0", similarity=0.8),
    "L1H0": Partner(student="L0H2", similarity=0.4),
    "L2H0": Partner(student="L1H1", similarity=0.5),
    "L3H1": Partner(student="L1H0", similarity=0.7),
    "L3H2": Partner(student="L1H0", similarity=0.6),
}


def compared():
    return {change.role: change for change in role_changes(TEACHER, STUDENT, PARTNERS, order=ORDER)}


def test_only_roles_that_someone_has_in_the_given_order():
    assert list(compared()) == ["duplicate-token", "induction", "name-mover", "successor", "copy"]


def test_two_heads_of_a_role_with_one_partner_that_has_it_are_merged():
    found = compared()["duplicate-token"]
    assert found.status == "both"
    assert found.merges == (Merge(student="L0H0", teachers=("L0H1", "L0H2"), same_role=True),)
    assert [match.same_role for match in found.matches] == [True, True, False]
    assert found.lost == ("L1H0",)  # its partner L0H2 has no such role
    assert found.new == ("L0H3",)  # nobody's partner


def test_heads_that_share_a_partner_without_the_role_merge_activations_only():
    found = compared()["name-mover"]
    assert found.status == "both"
    assert found.merges == (Merge(student="L1H0", teachers=("L3H1", "L3H2"), same_role=False),)
    assert found.lost == ("L3H1", "L3H2") and found.new == ("L1H3",)


def test_lost_and_new_roles():
    found = compared()
    assert found["induction"].status == "lost" and found["induction"].lost == ("L2H0",)
    assert found["induction"].matches == (RoleMatch(teacher="L2H0", student="L1H1", similarity=0.5, same_role=False),)
    assert found["successor"].status == "new" and found["successor"].new == ("L1H1",)
    assert found["induction"].merges == found["successor"].merges == ()


def test_what_could_not_be_claimed_is_not_lost():
    found = compared()["copy"]
    assert found.status == "untested in student"
    assert found.lost == ()
    (back,) = role_changes(STUDENT, RoleTable(held={"copy": ["L0H0"]}, tested=ORDER), {}, order=["copy"])
    assert back.status == "untested in teacher" and back.new == ()


def test_a_head_without_partner_is_lost():
    (found,) = role_changes(TEACHER, STUDENT, {}, order=["duplicate-token"])
    assert found.lost == found.teacher and found.new == found.student and found.matches == found.merges == ()


def test_parts_of_other_roles_count_where_someone_is_listed_with_them():
    """The teacher's mover copies too; only where the student has a mere copy head is that said."""
    teacher = RoleTable(held={"name-mover": ["L3H1"]}, implied={"copy": ["L3H1"]}, tested=ORDER)
    student = RoleTable(held={"copy": ["L1H0"]}, tested=ORDER)
    mover, copy = role_changes(teacher, student, PARTNERS, order=ORDER)
    assert (mover.role, mover.status) == ("name-mover", "lost")
    assert (copy.role, copy.status, copy.teacher, copy.lost, copy.new) == ("copy", "both", ("L3H1",), (), ())
    (back,) = role_changes(teacher, teacher, {"L3H1": Partner(student="L3H1", similarity=1.0)}, order=ORDER)
    assert back.role == "name-mover"


heads = st.sampled_from([f"L{layer}H{head}" for layer in range(2) for head in range(3)])
tables = st.dictionaries(st.sampled_from(ORDER), st.lists(heads, unique=True))


@given(tables, tables, st.dictionaries(heads, heads))
def test_every_head_of_a_role_is_accounted_for(teacher, student, pairs):
    sides = [RoleTable(held=held, tested=ORDER) for held in (teacher, student)]
    partners = {name: Partner(student=other, similarity=0.5) for name, other in pairs.items()}
    for change in role_changes(*sides, partners, order=ORDER):
        kept = {match.teacher for match in change.matches if match.same_role}
        assert kept | set(change.lost) == set(change.teacher) and not kept & set(change.lost)
        reached = {match.student for match in change.matches}
        assert set(change.student) - reached == set(change.new)
        assert {name for merge in change.merges for name in merge.teachers} <= {m.teacher for m in change.matches}
        assert (change.status == "both") == bool(change.teacher and change.student)
        if kept:
            assert change.status == "both"
