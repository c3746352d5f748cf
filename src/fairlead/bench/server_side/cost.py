"""What tokens cost: accelerators, for the time that they were there, at their price for an hour."""

from __future__ import annotations

from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.server_side.figures import Cost, Price, Range


def price_of(server: ServerMetrics) -> Price | None:
    """As the configuration gives it; else the dated list prices of its accelerator; None where neither is known."""
    if server.price_per_hour is not None:
        return Price(server.price_per_hour, server.price_per_hour, "", "as configured: server.price_per_hour")
    if server.accelerator is None:
        return None
    from fairlead.perf.accelerators import AcceleratorError, accelerator

    try:
        known = accelerator(server.accelerator)
    except AcceleratorError:
        return None
    if known.price is None:
        return None
    price = known.price
    said = f"{known.name}, list prices on demand, as of {price.as_of}: {price.source}"
    return Price(price.low_usd_per_h, price.high_usd_per_h, "USD", said)


def accelerators_of(server: ServerMetrics, engines: float | None, devices: int) -> tuple[float, str] | None:
    """How many, in the mean, and by what they were counted: as configured, by engines that were there, by devices that
    pages of power told of."""
    if server.accelerators is not None:
        return server.accelerators, "server.accelerators"
    if server.accelerators_per_engine is not None and engines is not None:
        return server.accelerators_per_engine * engines, "server.accelerators_per_engine × engines that were there"
    return (float(devices), "devices on the pages of power") if devices else None


def cost_of(
    price: Price, accelerators: float, counted_by: str, seconds: float, prompt: float, output: float, ratio: float
) -> Cost:
    """`prompt` and `output`: tokens in `seconds`; `ratio`: input tokens that cost as much as one of output."""
    hours = accelerators * seconds / 3600
    money = Range(price.low * hours, price.high * hours)
    split = _per_million(money, prompt / ratio + output)
    return Cost(
        accelerators, counted_by, price, money, _per_million(money, output), _per_million(money, prompt + output),
        split, None if split is None else Range(split.low / ratio, split.high / ratio), ratio,
    )  # fmt: skip


def together(parts: list[Cost | None], seconds: float, prompt: float, output: float) -> Cost | None:
    """Of all stages; `seconds` is all of their time. None where one of them is not known."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts) or seconds <= 0:
        return None
    first = known[0]
    hourly = first.price.high or first.price.low
    hours = sum(part.money.high for part in known) / hourly if hourly else first.accelerators * seconds / 3600
    return cost_of(first.price, hours * 3600 / seconds, first.counted_by, seconds, prompt, output, first.input_ratio)


def _per_million(money: Range, tokens: float) -> Range | None:
    return Range(money.low / tokens * 1e6, money.high / tokens * 1e6) if tokens > 0 else None
