"""Views of pods and nodes for decisions: quantities become integers, references are resolved, once and here. Pure."""

from fairlead.scheduling.observe.nodes import observe_node
from fairlead.scheduling.observe.pods import Context, Observer
from fairlead.scheduling.observe.requests import amounts, pod_host_ports, pod_requests

__all__ = ["Context", "Observer", "amounts", "observe_node", "pod_host_ports", "pod_requests"]
