"""What a namespace that is being deleted says."""

from fairlead.embedded.controllers.namespace import Content, compute_conditions
from fairlead.kube.resources import Resource

CONFIG_MAPS = Resource.of("v1", "configmaps", "ConfigMap")
WIDGETS = Resource.of("example.com/v1", "widgets", "Widget")


def test_what_is_left_is_named_by_resource_and_by_finalizer() -> None:
    content = Content()
    content.count(WIDGETS, [{"metadata": {"finalizers": ["example.com/hold"]}}] * 2)
    content.count(CONFIG_MAPS, [{"metadata": {}}])
    conditions = compute_conditions([], content, "t1")
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in conditions] == [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered",
         "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted",
         "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain",
         "Some resources are remaining: configmaps. has 1 resource instances, "
         "widgets.example.com has 2 resource instances"),
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain",
         "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"),
    ]  # fmt: skip
    done = compute_conditions(conditions, Content(), "t2")
    assert [c["status"] for c in done] == ["False"] * 5
    assert [c["lastTransitionTime"] for c in done] == ["t1", "t1", "t1", "t2", "t2"]
    assert compute_conditions(done, Content(), "t3") == done
