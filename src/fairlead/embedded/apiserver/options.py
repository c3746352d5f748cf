"""Query parameters and DeleteOptions: parsed, checked, and refused with the API server's wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multidict import MultiMapping

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, go_value, not_supported, required
from fairlead.embedded.apiserver.invalid import invalid as invalid_value
from fairlead.embedded.apiserver.status import bad_request, invalid_options

MANAGER_BYTES = 128
PROPAGATION = ("Foreground", "Background", "Orphan")


Query = MultiMapping[str]
"""Query parameters, with repeated keys."""


@dataclass(slots=True)
class WriteOptions:
    """What create, update and patch take."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    force: bool | None = None


@dataclass(slots=True)
class DeleteOptions:
    """What delete takes, from the body and the query. None means unset."""

    dry_run: bool = False
    grace_period_s: int | None = None
    uid: str | None = None
    version: str | None = None
    propagation: str | None = None
    orphan: bool | None = None
    ignore_store_read_error: bool | None = None
    selectors: Mapping[str, str] = field(default_factory=dict)


def parse_int(text: str) -> int:
    """A Go `strconv.ParseInt`. Raises BadRequest."""
    try:
        if not text.lstrip("+-").isdigit():
            raise ValueError(text)
        number = int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if not -(1 << 63) <= number < 1 << 63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def parse_flag(query: Query, key: str) -> bool | None:
    """A boolean parameter; None where it is absent. Anything but "false" and "0" is true."""
    text = query.get(key)
    return None if text is None else text.lower() not in ("false", "0")


def write_options(query: Query, kind: str, *, is_apply: bool = False) -> WriteOptions:
    """Options of a create ("CreateOptions"), update or patch. Raises Invalid."""
    options = WriteOptions(
        field_manager=query.get("fieldManager", ""),
        field_validation=query.get("fieldValidation", "") or "Warn",
        force=parse_flag(query, "force") if kind == "PatchOptions" else None,
    )
    errors: list[FieldError] = []
    if kind == "PatchOptions":
        if is_apply and not options.field_manager:
            errors.append(required("fieldManager", "is required for apply patch"))
        elif not is_apply and options.force is not None:
            errors.append(forbidden("force", "may not be specified for non-apply patch"))
    errors += _manager_errors(options.field_manager)
    dry_run = list(query.getall("dryRun", ()))
    errors += _dry_run_errors(dry_run)
    if options.field_validation not in ("Ignore", "Warn", "Strict"):
        errors.append(
            not_supported_in_order("fieldValidation", options.field_validation, ("", "Ignore", "Warn", "Strict"))
        )
    if errors:
        raise invalid_options(kind, errors)
    options.dry_run = bool(dry_run)
    return options


def delete_options(query: Query, body: Any) -> DeleteOptions:
    """Options of a delete: a body's DeleteOptions, or the query where there is no body. Raises BadRequest, Invalid."""
    options = DeleteOptions()
    if isinstance(body, dict):
        preconditions = body.get("preconditions") or {}
        options.uid = preconditions.get("uid")
        options.version = preconditions.get("resourceVersion")
        options.grace_period_s = body.get("gracePeriodSeconds")
        options.propagation = body.get("propagationPolicy")
        options.orphan = body.get("orphanDependents")
        dry_run = body.get("dryRun") or []
    else:
        grace_period = query.get("gracePeriodSeconds")
        if grace_period is not None:
            options.grace_period_s = parse_int(grace_period)
        options.propagation = query.get("propagationPolicy")
        options.orphan = parse_flag(query, "orphanDependents")
        dry_run = list(query.getall("dryRun", ()))
    errors: list[FieldError] = []
    if options.orphan is not None and options.propagation is not None:
        errors.append(
            invalid_value(
                "propagationPolicy",
                options.propagation,
                "orphanDependents and deletionPropagation cannot be both set",
            )
        )
    if options.propagation is not None and options.propagation not in PROPAGATION:
        errors.append(not_supported_in_order("propagationPolicy", options.propagation, (*PROPAGATION, "nil")))
    errors += _dry_run_errors(dry_run)
    if errors:
        raise invalid_options("DeleteOptions", errors)
    options.dry_run = bool(dry_run)
    return options


def _manager_errors(manager: str) -> list[FieldError]:
    errors = []
    if len(manager.encode()) > MANAGER_BYTES:
        errors.append(
            FieldError("FieldValueTooLong", "fieldManager", f"Too long: may not be more than {MANAGER_BYTES} bytes")
        )
    for index, character in enumerate(manager):
        if not character.isprintable():
            errors.append(
                invalid_value(
                    "fieldManager",
                    manager,
                    f"invalid character U+{ord(character):04X} (at position {index})",
                )
            )
    return errors


def _dry_run_errors(dry_run: Sequence[str]) -> list[FieldError]:
    if all(value == "All" for value in dry_run):
        return []
    return [
        FieldError(
            "FieldValueNotSupported", "dryRun", f'Unsupported value: {go_value(list(dry_run))}: supported values: "All"'
        )
    ]


def not_supported_in_order(path: str, value: Any, supported: Sequence[str]) -> FieldError:
    """Like `not_supported`, for errors that list the values in their own order."""
    error = not_supported(path, value, ())
    return FieldError(error.reason, error.field, error.message + ", ".join(f'"{each}"' for each in supported))
