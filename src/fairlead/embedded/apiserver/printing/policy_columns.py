"""Columns of the groups that say who and what may: rbac, policy, scheduling, admission, flow control, certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.printing.cells import AGE, NAME, NONE, UNSET, computed, get, number, text
from fairlead.embedded.apiserver.printing.duration import human_duration
from fairlead.embedded.apiserver.registry import Column, Object


def _bound_role(binding: Object) -> str:
    return f"{get(binding, 'roleRef', 'kind', default='')}/{get(binding, 'roleRef', 'name', default='')}"


def _subjects(name: str, description: str, kind: str) -> Column:
    def cell(binding: Object) -> str:
        found = [subject for subject in binding.get("subjects") or () if subject.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{subject.get('namespace', '')}/{subject.get('name', '')}" for subject in found)
        return ", ".join(subject.get("name", "") for subject in found)

    return computed(name, description, cell, priority=1)


_BINDING = (
    NAME,
    computed("Role", "The role that is given.", _bound_role),
    AGE,
    _subjects("Users", "Users who get it.", "User"),
    _subjects("Groups", "Groups that get it.", "Group"),
    _subjects("ServiceAccounts", "Service accounts that get it.", "ServiceAccount"),
)


def _budget(name: str, description: str, key: str) -> Column:
    return computed(name, description, lambda obj: str(get(obj, "spec", key, default="N/A")))


def _parameter_kind(policy: Object) -> str:
    kind = get(policy, "spec", "paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def _parameter(binding: Object) -> str:
    reference = get(binding, "spec", "paramRef")
    if reference is None:
        return UNSET
    name, namespace = reference.get("name") or "*", reference.get("namespace")
    return f"{namespace}/{name}" if namespace else name


def _policy(count: str, description: str, key: str) -> tuple[Column, ...]:
    return (
        NAME,
        _count(count, description, "spec", key),
        computed("ParamKind", "Kind of its parameters.", _parameter_kind),
        AGE,
    )


def _count(name: str, description: str, *path: str) -> Column:
    return computed(name, description, lambda obj: len(get(obj, *path, default=())), type_="integer")


_POLICY_BINDING = (
    NAME,
    text("PolicyName", "The policy that is bound.", "spec", "policyName"),
    computed("ParamRef", "Its parameters.", _parameter),
    AGE,
)
_WEBHOOKS = (NAME, _count("Webhooks", "How many webhooks there are.", "webhooks"), AGE)


def _signing_state(request: Object) -> str:
    types = [condition.get("type") for condition in get(request, "status", "conditions", default=())]
    states = [state for state in ("Approved", "Denied", "Failed") if state in types]
    if "Failed" in states and "Denied" not in states:
        states = [*(state for state in states if state != "Failed"), "Failed"]
    if get(request, "status", "certificate"):
        states.append("Issued")
    return ",".join(states) or "Pending"


def _requested_duration(request: Object) -> str:
    seconds = get(request, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _missing_level(schema: Object) -> str:
    for condition in get(schema, "status", "conditions", default=()):
        if condition.get("type") == "Dangling":
            return str(condition.get("status", "?"))
    return "?"


def _queuing(name: str, description: str, key: str) -> Column:
    path = ("spec", "limited", "limitResponse", "queuing", key)
    return text(name, description, *path, default=NONE)


def _api_service(service: Object) -> str:
    reference: Mapping[str, Any] | None = get(service, "spec", "service")
    return "Local" if reference is None else f"{reference.get('namespace', '')}/{reference.get('name', '')}"


def _available(service: Object) -> str:
    conditions: Sequence[Mapping[str, Any]] = get(service, "status", "conditions", default=())
    for condition in conditions:
        if condition.get("type") == "Available":
            status, reason = condition.get("status", ""), condition.get("reason")
            return status if status == "True" or not reason else f"{status} ({reason})"
    return "Unknown"


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_FLOW_CONTROL = "flowcontrol.apiserver.k8s.io"

COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    (_RBAC, "ClusterRoleBinding"): _BINDING,
    (_RBAC, "RoleBinding"): _BINDING,
    ("policy", "PodDisruptionBudget"): (
        NAME,
        _budget("Min Available", "Pods that have to stay.", "minAvailable"),
        _budget("Max Unavailable", "Pods that may be gone.", "maxUnavailable"),
        number("Allowed Disruptions", "Pods that may be evicted now.", "status", "disruptionsAllowed"),
        AGE,
    ),
    ("scheduling.k8s.io", "PriorityClass"): (
        NAME,
        number("Value", "The priority; a higher one goes first.", "value"),
        text("Global-Default", "Whether pods without a class get it.", "globalDefault", default=False, type_="boolean"),
        AGE,
        text("PreemptionPolicy", "Whether its pods push others out.", "preemptionPolicy"),
    ),
    ("coordination.k8s.io", "Lease"): (NAME, text("Holder", "Who has the lease.", "spec", "holderIdentity"), AGE),
    ("coordination.k8s.io", "LeaseCandidate"): (
        NAME,
        text("LeaseName", "The lease that it stands for.", "spec", "leaseName"),
        text("BinaryVersion", "Version of the program.", "spec", "binaryVersion"),
        text("EmulationVersion", "Version that it behaves as.", "spec", "emulationVersion"),
        AGE,
    ),
    ("node.k8s.io", "RuntimeClass"): (NAME, text("Handler", "The runtime's own name for it.", "handler"), AGE),
    (_ADMISSION, "MutatingAdmissionPolicy"): _policy("Mutations", "How many mutations it makes.", "mutations"),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _POLICY_BINDING,
    (_ADMISSION, "MutatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingAdmissionPolicy"): _policy("Validations", "How many rules it has.", "validations"),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _POLICY_BINDING,
    (_ADMISSION, "ValidatingWebhookConfiguration"): _WEBHOOKS,
    ("certificates.k8s.io", "CertificateSigningRequest"): (
        NAME,
        AGE,
        text("SignerName", "Who shall sign.", "spec", "signerName"),
        text("Requestor", "Who asks.", "spec", "username"),
        computed("RequestedDuration", "How long it shall be valid.", _requested_duration),
        computed("Condition", "Where the request stands.", _signing_state),
    ),
    (_FLOW_CONTROL, "FlowSchema"): (
        NAME,
        text("PriorityLevel", "The level of its requests.", "spec", "priorityLevelConfiguration", "name"),
        text("MatchingPrecedence", "Which schema is tried first.", "spec", "matchingPrecedence", default=0),
        text("DistinguisherMethod", "How flows are told apart.", "spec", "distinguisherMethod", "type", default=NONE),
        AGE,
        computed("MissingPL", "Whether the level does not exist.", _missing_level),
    ),
    (_FLOW_CONTROL, "PriorityLevelConfiguration"): (
        NAME,
        text("Type", "Whether the level is limited.", "spec", "type"),
        text(
            "NominalConcurrencyShares",
            "Its share of concurrent requests.",
            "spec",
            "limited",
            "nominalConcurrencyShares",
            default=NONE,
        ),
        _queuing("Queues", "How many queues there are.", "queues"),
        _queuing("HandSize", "Queues that a flow may use.", "handSize"),
        _queuing("QueueLengthLimit", "Requests that a queue holds.", "queueLengthLimit"),
        AGE,
    ),
    ("apiregistration.k8s.io", "APIService"): (
        NAME,
        computed("Service", "Who serves the version.", _api_service),
        computed("Available", "Whether it answers.", _available),
        AGE,
    ),
}
