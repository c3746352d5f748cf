"""PodTemplate: a template stored by itself."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.pod_defaults import default_pod_template
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_template
from fairlead.embedded.apiserver.kinds.pod_warnings import template_warnings
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext


class PodTemplateStrategy(ObjectStrategy):
    def default(self, obj: Object) -> None:
        default_pod_template(obj.setdefault("template", {}))

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_pod_template(errors, obj.get("template"), "template")
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        return template_warnings(obj, old, "template")
