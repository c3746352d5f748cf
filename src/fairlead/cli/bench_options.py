"""What options of `fairlead bench` say, as the document that a YAML file would be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairlead.cli.failure import Failed

Document = dict[str, Any]

_RANGE = re.compile(r"(\d+)-(\d+)")
_SPREAD = re.compile(r"~(\d+(?:\.\d+)?)(?::(\d+(?:\.\d+)?))?")


def lengths(text: str, option: str) -> Document:
    """`64` always, `32-128` evenly between, `~512` log-normal with this mean, `~512:0.5` with this coefficient of
    variation. Raises Failed."""
    if text.isdigit() and int(text) > 0:
        return {"kind": "fixed", "tokens": int(text)}
    if found := _RANGE.fullmatch(text):
        return {"kind": "uniform", "low": int(found[1]), "high": int(found[2])}
    if found := _SPREAD.fullmatch(text):
        spread = {"cv": float(found[2])} if found[2] is not None else {}
        return {"kind": "lognormal", "mean": float(found[1]), **spread}
    raise Failed(f"{option} is {text!r}: write 64 (always), 32-128 (evenly) or ~512 (log-normal with this mean)")


def numbers(text: str, option: str) -> list[float]:
    """`1,2,4.5`. Raises Failed."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 0 < number < 1e9 for number in found):
        raise Failed(f"{option} is {text!r}: write numbers above 0, with commas between them")
    return found


def pairs(given: list[str], option: str, separator: str = "=") -> dict[str, str]:
    """`a=b`, each. Raises Failed."""
    found: dict[str, str] = {}
    for text in given:
        name, found_separator, value = text.partition(separator)
        if not found_separator or not name.strip():
            raise Failed(f"{option} is {text!r}: write NAME{separator}VALUE")
        found[name.strip()] = value.strip()
    return found


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Document:
    """`over` on top of `under`, object by object; a list, or an object of another kind, takes the place of the one
    before."""
    result = dict(under)
    for name, value in over.items():
        before = result.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and _is_kind(value, before):
            result[name] = merged(before, value)
        else:
            result[name] = value
    return result


def _is_kind(over: Mapping[str, Any], under: Mapping[str, Any]) -> bool:
    kind = under.get("kind")
    return bool(over.get("kind", kind) == kind)


def open_load(rates: list[float], seconds: float | None, requests: int | None, process: str | None) -> Document:
    """A stage for each rate."""
    end: Document = (
        {"requests": requests} if requests is not None else {"seconds": seconds if seconds is not None else 30.0}
    )
    if requests is not None and seconds is not None:
        end["seconds"] = seconds
    shape = {"process": process} if process is not None else {}
    return {"kind": "open", "stages": [{"rate_per_s": rate, **end} for rate in rates], **shape}


def closed_load(users: list[float], seconds: float | None, requests: int | None) -> Document:
    """A stage for each number of users."""
    if any(number != int(number) for number in users):
        raise Failed("--users takes whole numbers")
    end: Document = {}
    if requests is not None:
        end["requests"] = requests
    if seconds is not None or requests is None:
        end["seconds"] = seconds if seconds is not None else 30.0
    return {"kind": "closed", "stages": [{"users": int(number), **end} for number in users]}


def server_pages(
    engines: str | None, gateway: str | None, pool: str | None, power: str | None, accelerator: str | None,
    accelerators: float | None, price_per_hour: float | None,
) -> Document:  # fmt: skip
    """What is looked at beside the load. Raises Failed."""
    given: Document = {
        "gateway": gateway, "pool": pool, "accelerator": accelerator, "accelerators": accelerators,
        "price_per_hour": price_per_hour, "power": None if power is None else _listed(power, "--power"),
    }  # fmt: skip
    document = {name: value for name, value in given.items() if value is not None}
    if engines is not None:
        # Said even where it is the default: an empty `server` would be none at all.
        document["engines"] = [] if engines == "auto" else _listed(engines, "--server")
    return document


def scaling(watch: list[str], price_per_hour: float | None) -> Document:
    """What is scaled meanwhile, as `--watch` names it."""
    if not watch:
        return {}
    return {"watch": watch, **({} if price_per_hour is None else {"price_per_hour": price_per_hour})}


def _listed(text: str, option: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise Failed(f"{option} is {text!r}: write addresses, with commas between them")
    return found
