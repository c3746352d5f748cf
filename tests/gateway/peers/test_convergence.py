"""Load tables that hear of each other, with messages that get lost: no sockets, no time."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.load import LoadTable
from fairlead.gateway.peers.inbox import Inbox
from fairlead.gateway.peers.messages import Loads
from fairlead.gateway.peers.outbox import Outbox
from fairlead.gateway.prefix import PrefixTree

ENDPOINTS = ("e1", "e2", "e3")
PICKERS = ("a", "b", "c")

_steps = st.one_of(
    st.tuples(st.just("pick"), st.sampled_from(PICKERS), st.sampled_from(ENDPOINTS), st.integers(0, 5000)),
    st.tuples(st.just("end"), st.sampled_from(PICKERS), st.integers(0, 30), st.none()),
    st.tuples(st.just("tell"), st.sampled_from(PICKERS), st.sets(st.sampled_from(PICKERS)), st.none()),
    st.tuples(st.just("gone"), st.sampled_from(PICKERS), st.sampled_from(PICKERS), st.none()),
    st.tuples(st.just("forget"), st.sampled_from(PICKERS), st.sampled_from(ENDPOINTS), st.none()),
)


class Group:
    def __init__(self):
        self.tables = {name: LoadTable(name) for name in PICKERS}
        self.inboxes = {name: Inbox(table, PrefixTree()) for name, table in self.tables.items()}
        self.live = {name: [] for name in PICKERS}
        self.now_s = 0.0
        for table in self.tables.values():
            for address in ENDPOINTS:
                table.of(address)

    def tell(self, name, hearers, *, whole=False):
        table = self.tables[name]
        changed, table.changed = table.changed, set()
        loads = table.own_loads(None if whole else changed)
        message = Loads(whole, [(address, *load) for address, load in loads.items()])
        for hearer in hearers:
            if hearer != name:
                self.inboxes[hearer].take_loads(name, message, self.now_s)

    def step(self, kind, name, first, second):
        self.now_s += 0.01
        table = self.tables[name]
        if kind == "pick":
            self.live[name].append(table.picked(first, self.now_s, prompt_tokens=second, output_tokens=10.0))
        elif kind == "end":
            if self.live[name]:
                table.ended(self.live[name].pop(first % len(self.live[name])))
        elif kind == "tell":
            self.tell(name, first)
        elif kind == "gone":
            table.peer_gone(first)
        else:
            table.forget(first)
            table.of(first)

    def requests(self, name, address):
        return len(self.tables[name].of(address).in_flight)


@given(st.lists(_steps, max_size=60))
def test_whole_reports_make_good_whatever_was_lost(steps):
    group = Group()
    for step in steps:
        group.step(*step)
    for name in PICKERS:
        group.tell(name, PICKERS, whole=True)
    for name, table in group.tables.items():
        for address in ENDPOINTS:
            load = table.of(address)
            others = [n for n in PICKERS if n != name]
            assert (load.candidate.others or 0) == sum(group.requests(n, address) for n in others)
            tokens = sum(
                r.prompt_tokens + int(r.output_tokens)
                for n in PICKERS
                for r in group.tables[n].of(address).in_flight.values()
            )
            assert load.candidate.in_flight_tokens == tokens
            assert load.candidate.prefill_backlog_tokens >= 0
            if not any(group.requests(n, address) for n in PICKERS):
                assert load.candidate.prefill_backlog_tokens == 0


@given(st.lists(_steps, max_size=40))
def test_what_peers_had_leaves_no_trace(steps):
    group = Group()
    for step in steps:
        group.step(*step)
    for name, table in group.tables.items():
        for other in PICKERS:
            table.peer_gone(other)
        for address in ENDPOINTS:
            load = table.of(address)
            assert load.candidate.others is None
            assert load.peers == {}
            own = sum(r.prompt_tokens + int(r.output_tokens) for r in load.in_flight.values())
            assert load.candidate.in_flight_tokens == own
            assert load.candidate.in_flight == group.requests(name, address)


def test_the_outbox_is_bounded_and_closed_while_nobody_listens(monkeypatch):
    import numpy as np

    from fairlead.gateway.peers import outbox
    from fairlead.gateway.prefix import PromptBlocks

    monkeypatch.setattr(outbox, "MAX_PROMPT_BYTES", 1000)
    box = Outbox(LoadTable("a"))
    blocks = PromptBlocks(np.arange(50, dtype=np.uint64), 16.0, 1)
    box.sent("e1", blocks)
    assert box.take_prompts() == b""
    box.open = True
    for _ in range(5):
        box.sent("e1", blocks)
    assert box.untold_prompts == 3
    assert box.take_prompts()
    assert box.take_loads() == b""
