"""Rules of what several kinds have in common: names, sources, variables, hardware, analysis, steps of a canary."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.api.rules.rule import Rule, Rules

MODEL_NAME: Sequence[Rule] = [
    Rule(
        r"!self.matches('[,~\\s]')",
        "names that requests give have no commas, blanks or ~: commas separate names, ~ is for versions under trial",
    ),
]

SCHEMES = ("hf", "oci", "s3", "gs", "http", "https", "pvc", "file")
_SOURCES = ", ".join(f"'{scheme}://'" for scheme in SCHEMES)
SOURCE: Sequence[Rule] = [
    Rule(
        f"self == '' || self.startsWith('/') || [{_SOURCES}].exists(known, self.startsWith(known))",
        "write an absolute path or a URL of these: hf://owner/name (for the Hugging Face hub), "
        "oci://registry/name:tag, s3://, gs://, http(s)://, pvc://claim/path, file:///path",
    ),
]
VERIFICATION: Sequence[Rule] = [
    Rule(
        "has(self.publicKeys) && size(self.publicKeys) > 0",
        "verification without publicKeys: nobody could have signed; give at least one key, or leave verification out",
        field=".publicKeys",
    ),
]

ENV_VAR: Sequence[Rule] = [
    Rule(
        "!has(self.valueFrom) || !has(self.value) || self.value == ''",
        "a variable has value or valueFrom, not both: leave one out",
        field=".valueFrom",
    ),
    Rule(
        "!has(self.valueFrom) || [has(self.valueFrom.fieldRef), has(self.valueFrom.resourceFieldRef), "
        "has(self.valueFrom.configMapKeyRef), has(self.valueFrom.secretKeyRef)].filter(said, said).size() == 1",
        "valueFrom names one of fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef",
        field=".valueFrom",
    ),
]
_RANKS = "(self.tensor * self.pipeline * self.data)"
PARALLELISM: Sequence[Rule] = [
    Rule(
        f"{_RANKS} % self.hosts == 0",
        "hosts does not divide the accelerators (tensor x pipeline x data): take a number of hosts that does",
        telling=f"'hosts is ' + string(self.hosts) + ', which does not divide ' + string({_RANKS}) + "
        "' accelerators (tensor x pipeline x data): take a number of hosts that does'",
        field=".hosts",
    ),
    Rule(
        f"self.expert == 1 || {_RANKS} % self.expert == 0",
        "expert does not divide the ranks (tensor x pipeline x data) that it is inside of: take a number that does",
        telling=f"'expert is ' + string(self.expert) + ', which does not divide the ' + string({_RANKS}) + "
        "' ranks (tensor x pipeline x data) that it is inside of: take 1 or a number that does'",
        field=".expert",
    ),
]
ACCELERATOR: Sequence[Rule] = [
    Rule(
        "!has(self.deviceClass) || self.deviceClass == '' || !has(self.resource) || self.resource == ''",
        "deviceClass and resource are two ways to ask for the same devices: leave one of them out",
        field=".resource",
    ),
    Rule(
        "self.count == 0 || (has(self.deviceClass) && self.deviceClass != '') || "
        "(has(self.resource) && self.resource != '')",
        "count needs to know of what: name a deviceClass or a resource, or leave count out",
        telling="'count is ' + string(self.count) + ', but of what? name a deviceClass or a resource, or leave it out'",
        field=".count",
    ),
    Rule(
        "(has(self.deviceClass) && self.deviceClass != '') || "
        "((!has(self.selectors) || size(self.selectors) == 0) && "
        "(!has(self.matchAttributes) || size(self.matchAttributes) == 0))",
        "selectors and matchAttributes choose among the devices of a class: name deviceClass, or leave them out",
        field=".deviceClass",
    ),
]
_LEVELS = ("host", "nvlink", "rack", "block", "zone", "region")
LEVEL: Sequence[Rule] = [
    Rule(
        f"self == '' || self in {list(_LEVELS)} || self.contains('/')",
        f"there is no such level: write one of {', '.join(_LEVELS)}, or a whole node label such as "
        "topology.kubernetes.io/zone",
    ),
]
OFFLOAD: Sequence[Rule] = [
    Rule(
        "self == '' || isQuantity(self)",
        "write an amount of memory as Kubernetes does, such as 64Gi",
    ),
]
SCALING: Sequence[Rule] = [
    Rule(
        "self.maxReplicas == 0 || self.minReplicas <= self.maxReplicas",
        "maxReplicas is below minReplicas: raise maxReplicas (0: no bound), or lower minReplicas",
        telling="'maxReplicas is ' + string(self.maxReplicas) + ', below minReplicas, which is ' + "
        "string(self.minReplicas) + ': raise maxReplicas (0: no bound), or lower minReplicas'",
        field=".maxReplicas",
    ),
]

CRITERION: Sequence[Rule] = [
    Rule(
        "self.measure != 'errorRate' || self.marginPercent <= 100.0",
        "the margin of errorRate is in percentage points of all requests: at most 100",
        field=".marginPercent",
    ),
]
ANALYSIS: Sequence[Rule] = [
    Rule(
        "self.maxRequests == 0 || self.minRequests <= self.maxRequests",
        "maxRequests is below minRequests: the comparison would end before it begins; raise maxRequests (0: no bound)",
        telling="'maxRequests is ' + string(self.maxRequests) + ', below minRequests, which is ' + "
        "string(self.minRequests) + ': the comparison would end before it begins; raise maxRequests (0: no bound)'",
        field=".maxRequests",
    ),
    Rule(
        "self.maxRequests > 0 || self.maxSeconds > 0",
        "maxRequests and maxSeconds are both 0: an undecided comparison would never end; give one of them",
        field=".maxSeconds",
    ),
]
CANARY_STEPS: Sequence[Rule] = [
    Rule(
        "self.map(step, step.weight).isSorted()",
        "weights of steps may only rise: put them in order",
    ),
    Rule(
        "self.all(step, step.weight < 100)",
        "a step of 100 percent leaves no stable version to compare with: end below 100, the whole fleet follows by "
        "itself",
    ),
]

_AMOUNT = "(type(self) == string ? int(self.endsWith('%') ? self.substring(0, size(self) - 1) : self) : int(self))"
COUNT_OR_PERCENT: Sequence[Rule] = [
    Rule("type(self) == string || int(self) >= 0", "it may not be negative: write 0 or more, or a share such as 25%"),
]
PERCENT_TO_100: Sequence[Rule] = [
    *COUNT_OR_PERCENT,
    Rule(
        f"type(self) != string || !self.endsWith('%') || {_AMOUNT} <= 100",
        "more than all cannot be missing: write 100% or less",
    ),
]
_NONE = "(type(self.{0}) == string ? self.{0}.matches('^0+%?$') : int(self.{0}) == 0)"
SURGE: Rule = Rule(
    f"!({_NONE.format('maxSurge')} && {_NONE.format('maxUnavailable')})",
    "maxSurge and maxUnavailable are both 0, so that no replica could ever be replaced: allow 1 of either",
    field=".maxSurge",
)

WORKLOAD: Rules = {
    "env[]": ENV_VAR,
    "parallelism": PARALLELISM,
    "accelerators[]": ACCELERATOR,
    "accelerators[].parallelism": PARALLELISM,
    "accelerators[].env[]": ENV_VAR,
    "topology.required[]": LEVEL,
    "topology.preferred[]": LEVEL,
    "topology.rolesTogether": LEVEL,
    "kvCache.offload": OFFLOAD,
    "scaling": SCALING,
}
"""Of a service and of each of its roles."""

COMPARED: Rules = {"analysis": ANALYSIS, "analysis.criteria[]": CRITERION}


def below(path: str, rules: Rules) -> Rules:
    """The same rules at another place."""
    return {f"{path}.{at}": listed for at, listed in rules.items()}
