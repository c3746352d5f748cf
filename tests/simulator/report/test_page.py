"""The report: one file that needs no network, draws every figure and repeats what the summary says."""

import json
import re
from html.parser import HTMLParser

import pytest

from fairlead.simulator.fleet import GatewaySpec, PoolSpec, Scenario, run_study
from fairlead.simulator.report import report_page
from fairlead.simulator.report.tables import number, percent, seconds
from fairlead.workload import Arrivals, Fixed, Slo, Synthetic


def scenario(policy="least-loaded", name="a study"):
    return Scenario(
        name=name,
        synthetic=Synthetic(Arrivals(rate_per_s=5), requests=60, prompt_tokens=Fixed(50), output_tokens=Fixed(10)),
        pools=(PoolSpec(replicas=2),),
        gateway=GatewaySpec(policy=policy),
        slo=Slo(ttft_s=0.5),
    )


class Page(HTMLParser):
    """Collects what a test wants to know of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.plots, self.scripts, self.cells, self.text = [], [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given[name] for name in ("src", "href") if name in given]
        if re.fullmatch(r"plot\d+", given.get("id", "")):
            self.plots.append(given["id"])
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)
        else:
            self.text.append(data)


def figures_of(page):
    return json.loads(re.search(r"const figures = (.*?);figures\.forEach", page.scripts[-1], re.S)[1])


def test_a_page_of_one_study():
    given = scenario()
    summary = run_study(given)
    page = Page(report_page([summary], given))
    assert page.open == []
    assert page.links == []
    figures = figures_of(page)
    assert page.plots == [f"plot{n}" for n in range(len(figures))]
    assert len(figures) == 4 + 6 + 1
    assert any("Plotly" in script and len(script) > 1_000_000 for script in page.scripts[:-1])
    ttft = figures[0]
    assert ttft["data"][0]["y"][-1] == 1.0
    assert ttft["layout"]["shapes"][0]["x0"] == pytest.approx(500)
    for expected in (seconds(summary.ttft_s.p99), percent(summary.attainment), "main-1"):
        assert expected in page.cells
    assert any("rate_per_s: 5" in text for text in page.text)
    for term in summary.definitions:
        assert term in page.text


def test_a_page_of_several_studies_compares_them():
    given = [scenario(policy) for policy in ("random", "least-loaded")]
    summaries = [run_study(s, variant=f"policy={s.gateway.policy}") for s in given]
    page = Page(report_page(summaries, given[0]))
    assert {"policy=random", "policy=least-loaded"} <= set(page.cells)
    assert [trace["name"] for trace in figures_of(page)[0]["data"]] == ["policy=random", "policy=least-loaded"]


def test_names_are_text_and_never_markup():
    given = scenario(name="</script><script>alert(1)</script><b>&")
    page = Page(report_page([run_study(given)], given))
    assert page.open == []
    assert not any("alert(1)" in script for script in page.scripts if "const figures" not in script)
    assert len(figures_of(page)) == 11


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.01234, "12.3 ms"),
        (1.5, "1.5 s"),
        (0.9999, "1 s"),
        (999.9, "1,000 s"),
        (4000.0, "4,000 s"),
    ],
)
def test_seconds_for_people(value, said):
    assert seconds(value) == said


def test_numbers_for_people():
    assert [number(v) for v in (None, 0, 3, 1234567, 0.1234, 1234.5)] == ["–", "0", "3", "1,234,567", "0.123", "1,234"]
    assert [percent(v) for v in (None, 0.0, 0.1234, 0.99999, 1.0)] == ["–", "0.0 %", "12.3 %", "99.9 %", "100.0 %"]
