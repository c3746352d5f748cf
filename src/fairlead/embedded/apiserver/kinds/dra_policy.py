"""Request policies of shared capacity: which amounts a request may ask for, and what it gets when it asks for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, required, too_many
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.kube.quantity import parse_quantity as parse

VALID_VALUES_LIMIT = 10


def check_request_policy(errors: Errors, policy: Mapping[str, Any], capacity: str, path: str) -> None:
    """A policy of discrete values or of a range; `capacity` is the device's own."""
    values, range_, default = policy.get("validValues"), policy.get("validRange"), policy.get("default")
    if values and range_ is not None:
        detail = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        errors.append(forbidden(path, detail))
    elif values:
        if default is None:
            errors.append(required(f"{path}.default", "required when validValues is defined"))
        else:
            _check_values(errors, values, default, capacity, f"{path}.validValues")
    elif range_ is not None:
        if default is None:
            errors.append(required(f"{path}.default", "required when validRange is defined"))
        else:
            _check_range(errors, range_, default, capacity, f"{path}.validRange")


def _check_values(errors: Errors, values: Sequence[str], default: str, capacity: str, path: str) -> None:
    amounts = [parse(value) for value in values]
    for index in range(1, len(amounts)):
        if amounts[index - 1] > amounts[index]:
            errors.append(invalid(f"{path}[{index}]", values[index], "values must be sorted in ascending order"))
    if len(values) > VALID_VALUES_LIMIT:
        errors.append(too_many(path, len(values), VALID_VALUES_LIMIT))
    else:
        for index, amount in enumerate(amounts):
            if amount > parse(capacity):
                detail = f"option is larger than capacity value: {capacity}"
                errors.append(invalid(f"{path}[{index}]", values[index], detail))
        for index, amount in enumerate(amounts):
            if amount in amounts[:index]:
                errors.append(duplicate(f"{path}[{index}]", str(amount.value)))
        if parse(default) in amounts:
            return
    errors.append(invalid(path, default, "default value is not valid according to the requestPolicy"))


def _check_range(errors: Errors, range_: Mapping[str, Any], default: str, capacity: str, path: str) -> None:
    low, high = range_.get("min"), range_.get("max")
    if low is None:
        errors.append(required(f"{path}.min", "required when validRange is defined"))
        return
    if parse(low) > parse(capacity):
        errors.append(invalid(f"{path}.min", low, f"min is larger than capacity value: {capacity}"))
    if parse(default) < parse(low):
        errors.append(invalid(f"{path}.min", default, f"default is less than min: {low}"))
    if high is not None:
        if parse(low) > parse(high):
            errors.append(invalid(f"{path}.max", low, f"min is larger than max: {high}"))
        if parse(high) > parse(capacity):
            errors.append(invalid(f"{path}.max", high, f"max is larger than capacity value: {capacity}"))
        if parse(default) > parse(high):
            errors.append(invalid(f"{path}.max", default, f"default is more than max: {high}"))
    if range_.get("step") is not None:
        _check_step(errors, range_["step"], (default, high), low, capacity, f"{path}.step")


def _check_step(errors: Errors, step: str, values: Sequence[str | None], low: str, capacity: str, path: str) -> None:
    whole_step = parse(step).value
    if not whole_step:
        # kube-apiserver divides by this step and drops the connection.
        errors.append(invalid(path, step, "must be greater than zero"))
        return
    first = parse(low) + parse(step)
    if first > parse(capacity):
        errors.append(invalid(path, step, f"one step {first} is larger than capacity value: {capacity}"))
    for value in values:
        # Steps are counted in whole numbers, each amount rounded up.
        if value is not None and (parse(value).value - parse(low).value) % whole_step:
            detail = f"value is not a multiple of a given step ({step}) from ({low})"
            errors.append(invalid(path, value, detail))
