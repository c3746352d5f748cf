"""Roles keep the service's ratio until one is scaled by itself, and again when the service's own number changes."""

from __future__ import annotations

from typing import Any

from fairlead.serving.scales import desired_counts, is_ratio_kept, wanted_scales
from serving.test_status import service

ROLES = [{"name": "prefill", "replicas": 1}, {"name": "decode", "replicas": 3}]


def scales(sets: int, **changed: int) -> list[dict[str, Any]]:
    """The RoleScales that were written for so many sets, some of them scaled since."""
    of = service(replicas=sets, roles=ROLES)
    made = wanted_scales(of, desired_counts(of, ()), {"uid": "u"})
    for scale in made:
        role = scale["spec"]["role"]
        scale["spec"]["replicas"] = changed.get(role, scale["spec"]["replicas"])
    return made


def test_one_role_is_the_services_own_number() -> None:
    assert desired_counts(service(replicas=3), ()) == {"unified": 3}
    assert wanted_scales(service(replicas=3), {"unified": 3}, {}) == []


def test_a_set_has_its_ratio() -> None:
    of = service(replicas=2, roles=ROLES)
    counts = desired_counts(of, scales(2))
    assert counts == {"prefill": 2, "decode": 6} and is_ratio_kept(of, counts)


def test_a_role_that_is_scaled_by_itself_keeps_its_number() -> None:
    of = service(replicas=2, roles=ROLES)
    counts = desired_counts(of, scales(2, decode=9))
    assert counts == {"prefill": 2, "decode": 9} and not is_ratio_kept(of, counts)
    again = wanted_scales(of, counts, {})
    assert {s["spec"]["role"]: s["spec"]["replicas"] for s in again} == counts, "it is not written over"


def test_the_services_number_counts_again_once_it_changes() -> None:
    assert desired_counts(service(replicas=3, roles=ROLES), scales(2, decode=9)) == {"prefill": 3, "decode": 9}
    assert desired_counts(service(replicas=4, roles=ROLES), scales(2, decode=9)) == {"prefill": 4, "decode": 12}


def test_a_scale_to_nothing() -> None:
    of = service(replicas=2, roles=ROLES)
    assert desired_counts(of, scales(2, prefill=0)) == {"prefill": 0, "decode": 6}
