"""Kubernetes for Python operators: objects as typed structs, an async client, informers and control loops.

Works against any Kubernetes API server. Imports nothing of Fairlead but the clock. The names below load on first use,
so that who needs quantities or errors does not pay for an HTTP client:

    informers = Informers(client)

    async def reconcile(key: ObjectKey) -> Result | None: ...

    controller = Controller("web", reconcile, concurrency=4).watch(informers.informer(WEBS))
    await run_controllers(informers, [controller.owns(informers.informer(PODS), "Web")])

Kinds and their resources are in `fairlead.kube.objects` and `fairlead.kube.kinds`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fairlead.kube.authorization import CredentialsError as CredentialsError
    from fairlead.kube.backoff import Backoff as Backoff
    from fairlead.kube.client import Client as Client
    from fairlead.kube.controller import Controller as Controller
    from fairlead.kube.controller import Permanent as Permanent
    from fairlead.kube.controller import Result as Result
    from fairlead.kube.credentials import Credentials as Credentials
    from fairlead.kube.discovery import Discovery as Discovery
    from fairlead.kube.election import LeaderElection as LeaderElection
    from fairlead.kube.errors import AlreadyExists as AlreadyExists
    from fairlead.kube.errors import ApiError as ApiError
    from fairlead.kube.errors import BadRequest as BadRequest
    from fairlead.kube.errors import Conflict as Conflict
    from fairlead.kube.errors import Forbidden as Forbidden
    from fairlead.kube.errors import Gone as Gone
    from fairlead.kube.errors import Invalid as Invalid
    from fairlead.kube.errors import NotFound as NotFound
    from fairlead.kube.errors import TooManyRequests as TooManyRequests
    from fairlead.kube.events import EventRecorder as EventRecorder
    from fairlead.kube.informer import Handler as Handler
    from fairlead.kube.informer import Informer as Informer
    from fairlead.kube.informer import Informers as Informers
    from fairlead.kube.quantity import Quantity as Quantity
    from fairlead.kube.quantity import parse_quantity as parse_quantity
    from fairlead.kube.rate_limit import RateLimit as RateLimit
    from fairlead.kube.resources import ObjectKey as ObjectKey
    from fairlead.kube.resources import Resource as Resource
    from fairlead.kube.resources import Unstructured as Unstructured
    from fairlead.kube.resources import WatchEvent as WatchEvent
    from fairlead.kube.resources import key_of as key_of
    from fairlead.kube.resources import metadata_of as metadata_of
    from fairlead.kube.run import run_controllers as run_controllers
    from fairlead.kube.run import run_elected as run_elected
    from fairlead.kube.run import run_until_signal as run_until_signal
    from fairlead.kube.selectors import Selector as Selector
    from fairlead.kube.selectors import from_label_selector as from_label_selector
    from fairlead.kube.selectors import from_labels as from_labels
    from fairlead.kube.selectors import parse_field_selector as parse_field_selector
    from fairlead.kube.selectors import parse_label_selector as parse_label_selector
    from fairlead.kube.store import Store as Store
    from fairlead.kube.transport import RetryPolicy as RetryPolicy
    from fairlead.kube.transport import Unreachable as Unreachable
    from fairlead.kube.waiting import wait_deleted as wait_deleted
    from fairlead.kube.waiting import wait_for as wait_for
    from fairlead.kube.work_queue import WorkQueue as WorkQueue

# Module -> the public names in it.
_NAMES: Final = {
    "authorization": ("CredentialsError",),
    "backoff": ("Backoff",),
    "client": ("Client",),
    "controller": ("Controller", "Permanent", "Result"),
    "credentials": ("Credentials",),
    "discovery": ("Discovery",),
    "election": ("LeaderElection",),
    "errors": (
        "AlreadyExists",
        "ApiError",
        "BadRequest",
        "Conflict",
        "Forbidden",
        "Gone",
        "Invalid",
        "NotFound",
        "TooManyRequests",
    ),
    "events": ("EventRecorder",),
    "informer": ("Handler", "Informer", "Informers"),
    "quantity": ("Quantity", "parse_quantity"),
    "rate_limit": ("RateLimit",),
    "resources": ("ObjectKey", "Resource", "Unstructured", "WatchEvent", "key_of", "metadata_of"),
    "run": ("run_controllers", "run_elected", "run_until_signal"),
    "selectors": ("Selector", "from_label_selector", "from_labels", "parse_field_selector", "parse_label_selector"),
    "store": ("Store",),
    "transport": ("RetryPolicy", "Unreachable"),
    "waiting": ("wait_deleted", "wait_for"),
    "work_queue": ("WorkQueue",),
}
_MODULE_OF: Final = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Backoff",
    "BadRequest",
    "Client",
    "Conflict",
    "Controller",
    "Credentials",
    "CredentialsError",
    "Discovery",
    "EventRecorder",
    "Forbidden",
    "Gone",
    "Handler",
    "Informer",
    "Informers",
    "Invalid",
    "LeaderElection",
    "NotFound",
    "ObjectKey",
    "Permanent",
    "Quantity",
    "RateLimit",
    "Resource",
    "Result",
    "RetryPolicy",
    "Selector",
    "Store",
    "TooManyRequests",
    "Unreachable",
    "Unstructured",
    "WatchEvent",
    "WorkQueue",
    "from_label_selector",
    "from_labels",
    "key_of",
    "metadata_of",
    "parse_field_selector",
    "parse_label_selector",
    "parse_quantity",
    "run_controllers",
    "run_elected",
    "run_until_signal",
    "wait_deleted",
    "wait_for",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
