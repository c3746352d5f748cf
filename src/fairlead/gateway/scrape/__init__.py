"""Keeps what the gateway knows of its engines fresh: asks each for its metrics page at a pace that fits its load.
Pages are read only as far as decisions need them, and nothing that a page says is believed beyond what can be true."""

from fairlead.engines.page_client import PageConnection, PageError
from fairlead.gateway.scrape.pace import BUSY_INTERVAL_S, IDLE_INTERVAL_S, QUIET_INTERVAL_S
from fairlead.gateway.scrape.recovery import Recovery
from fairlead.gateway.scrape.scraper import Scraper, metrics_url

__all__ = [
    "BUSY_INTERVAL_S",
    "IDLE_INTERVAL_S",
    "QUIET_INTERVAL_S",
    "PageConnection",
    "PageError",
    "Recovery",
    "Scraper",
    "metrics_url",
]
