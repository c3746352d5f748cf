"""Scale subresources (autoscaling/v1) and horizontal pod autoscalers (autoscaling/v2)."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.kube.objects.meta import KubernetesObject, LabelSelector, Part


class ScaleSpec(Part, frozen=True, gc=False):
    replicas: int | None = None


class ScaleStatus(Part, frozen=True, gc=False):
    replicas: int = 0
    selector: str = ""


class Scale(KubernetesObject, frozen=True, gc=False):
    spec: ScaleSpec = ScaleSpec()
    status: ScaleStatus = ScaleStatus()


class CrossVersionObjectReference(Part, frozen=True, gc=False):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricIdentifier(Part, frozen=True, gc=False):
    name: str = ""
    selector: LabelSelector | None = None


class MetricTarget(Part, frozen=True, gc=False):
    average_utilization: int | None = None
    average_value: str = ""
    type: str = ""
    value: str = ""


class MetricValueStatus(Part, frozen=True, gc=False):
    average_utilization: int | None = None
    average_value: str = ""
    value: str = ""


class ContainerResourceMetricSource(Part, frozen=True, gc=False):
    container: str = ""
    name: str = ""
    target: MetricTarget | None = None


class ExternalMetricSource(Part, frozen=True, gc=False):
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class ObjectMetricSource(Part, frozen=True, gc=False):
    described_object: CrossVersionObjectReference | None = None
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class PodsMetricSource(Part, frozen=True, gc=False):
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class ResourceMetricSource(Part, frozen=True, gc=False):
    name: str = ""
    target: MetricTarget | None = None


class MetricSpec(Part, frozen=True, gc=False):
    container_resource: ContainerResourceMetricSource | None = None
    external: ExternalMetricSource | None = None
    object: ObjectMetricSource | None = None
    pods: PodsMetricSource | None = None
    resource: ResourceMetricSource | None = None
    type: str = ""


class HPAScalingPolicy(Part, frozen=True, gc=False):
    period_seconds: int = 0
    type: str = ""
    value: int = 0


class HPAScalingRules(Part, frozen=True, gc=False):
    policies: Sequence[HPAScalingPolicy] = ()
    select_policy: str = ""
    stabilization_window_seconds: int | None = None
    tolerance: str = ""


class HorizontalPodAutoscalerBehavior(Part, frozen=True, gc=False):
    scale_down: HPAScalingRules | None = None
    scale_up: HPAScalingRules | None = None


class HorizontalPodAutoscalerSpec(Part, frozen=True, gc=False):
    behavior: HorizontalPodAutoscalerBehavior | None = None
    max_replicas: int = 0
    metrics: Sequence[MetricSpec] = ()
    min_replicas: int | None = None
    scale_target_ref: CrossVersionObjectReference | None = None


class ContainerResourceMetricStatus(Part, frozen=True, gc=False):
    container: str = ""
    current: MetricValueStatus | None = None
    name: str = ""


class ExternalMetricStatus(Part, frozen=True, gc=False):
    current: MetricValueStatus | None = None
    metric: MetricIdentifier | None = None


class ObjectMetricStatus(Part, frozen=True, gc=False):
    current: MetricValueStatus | None = None
    described_object: CrossVersionObjectReference | None = None
    metric: MetricIdentifier | None = None


class PodsMetricStatus(Part, frozen=True, gc=False):
    current: MetricValueStatus | None = None
    metric: MetricIdentifier | None = None


class ResourceMetricStatus(Part, frozen=True, gc=False):
    current: MetricValueStatus | None = None
    name: str = ""


class MetricStatus(Part, frozen=True, gc=False):
    container_resource: ContainerResourceMetricStatus | None = None
    external: ExternalMetricStatus | None = None
    object: ObjectMetricStatus | None = None
    pods: PodsMetricStatus | None = None
    resource: ResourceMetricStatus | None = None
    type: str = ""


class HorizontalPodAutoscalerCondition(Part, frozen=True, gc=False):
    last_transition_time: str | None = None
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class HorizontalPodAutoscalerStatus(Part, frozen=True, gc=False):
    conditions: Sequence[HorizontalPodAutoscalerCondition] = ()
    current_metrics: Sequence[MetricStatus] = ()
    current_replicas: int | None = None
    desired_replicas: int = 0
    last_scale_time: str | None = None
    observed_generation: int | None = None


class HorizontalPodAutoscaler(KubernetesObject, frozen=True, gc=False):
    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()
