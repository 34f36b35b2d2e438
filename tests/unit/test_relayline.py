"""The line of a relay copy under every fault of its table, and under random ones, on a simulated network."""

from __future__ import annotations

import functools
import random

import pytest

from mpshell.coordinator import relaywire
from mpshell.coordinator.relayline import RelayLine
from mpshell.coordinator.relaynode import EVENTS, HEAD, STATES, TABLE, Pull, Take
from mpshell.coordinator.relayprogress import RelayProgress, progress_of
from tests.unit.relaynet import MB, SimNet

SIZE = 25 * MB


def made(nodes: int = 12, size: int = SIZE, **changes: float) -> SimNet:
    net = SimNet(nodes, size, **changes)
    net.start()
    return net


def arrived(net: SimNet) -> list[int]:
    return [node.rank for node in net.nodes if node.arrived]


def test_a_line_takes_little_more_than_one_copy() -> None:
    net = made(24)
    seconds = net.run()
    assert len(arrived(net)) == 24
    assert seconds < 1.3 * 10
    assert net.head_sent <= 1.05 * SIZE


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_few_nodes(nodes: int) -> None:
    net = made(nodes)
    assert net.run() < 11.5
    assert len(arrived(net)) == nodes and net.head_sent <= 1.01 * SIZE


def test_a_killed_node_costs_the_others_little() -> None:
    before = made().run()
    for victim in (0, 5, 11):
        net = made()
        net.at(5, functools.partial(net.kill, victim))
        assert net.run() <= 1.1 * before + 1
        assert len(arrived(net)) == 11 and net.head_sent <= 1.05 * SIZE
        assert net.line.nodes[victim].reason == "lost"


def test_a_cut_link_costs_the_time_to_find_it() -> None:
    before = made().run()
    for victim in (0, 5, 11):
        net = made()
        net.at(5, functools.partial(net.cut_link, victim))
        seconds = net.run()
        others = max(net.ended[rank] for rank in arrived(net))
        assert others <= 1.15 * before + 4 and seconds <= 1.15 * before + 7
        assert len(arrived(net)) == 11 and net.head_sent <= 1.05 * SIZE + 0.5 * MB


@pytest.mark.parametrize("pair", [(6, 5), (1, 0), (11, 10)])
def test_a_pair_that_cannot_reach_each_other(pair: tuple[int, int]) -> None:
    before = made().run()
    net = made()
    net.unreachable.add(pair)
    assert net.run() <= 1.1 * before
    assert len(arrived(net)) == 12 and net.head_sent <= 1.05 * SIZE


def test_a_pair_that_neither_way_reaches_the_other() -> None:
    net = made()
    net.unreachable |= {(11, 10), (10, 11)}
    assert net.run() <= 25
    assert len(arrived(net)) == 12 and net.head_sent <= 2.05 * SIZE


def test_a_node_that_never_answers_delays_nobody() -> None:
    net = SimNet(12, SIZE)
    net.start([0.01 * rank if rank != 3 else 30.0 for rank in range(12)])
    net.at(20, lambda: net.kill(3))
    net.run()
    assert max(net.ended[rank] for rank in arrived(net)) < 13
    assert len(arrived(net)) == 11


def test_a_late_node_gets_it_from_one_that_has_it() -> None:
    net = SimNet(12, SIZE)
    net.start([0.01 * rank if rank != 3 else 20.0 for rank in range(12)])
    assert net.run() < 31.5
    assert len(arrived(net)) == 12 and net.head_sent <= 1.05 * SIZE
    assert net.line.nodes[3].source != HEAD


@pytest.mark.parametrize("liar", [0, 5, 8, 10])
def test_a_relay_that_alters_bytes_is_no_source_any_more(liar: int) -> None:
    net = made()
    net.nodes[liar].liar = True
    assert net.run() < 25
    assert len(arrived(net)) == 12
    # Behind the first there is no other one that is right.
    assert net.head_sent <= (1.05 if liar else 2.05) * SIZE
    assert net.line.nodes[liar].is_struck


def test_two_liars() -> None:
    net = made()
    net.nodes[3].liar = net.nodes[7].liar = True
    assert net.run() < 45
    assert len(arrived(net)) == 12


def test_a_full_disk_is_that_node_s_own_fault() -> None:
    before = made().run()
    net = made()
    net.nodes[5].fails_at = 10 * MB
    assert net.run() <= 1.1 * before + 1
    assert len(arrived(net)) == 11 and net.line.nodes[5].reason == "no space left"
    assert sum(node.repairs for node in net.line.nodes) <= 1


@pytest.mark.parametrize("slow", [0, 1, 5, 10])
@pytest.mark.parametrize("size", [25 * MB, 100 * MB])
def test_a_slow_node_delays_the_others_little(slow: int, size: int) -> None:
    before = made(size=size).run(2000)
    net = made(size=size)
    net.nodes[slow].bandwidth /= 10
    net.run(2000)
    others = max(net.ended[rank] for rank in arrived(net) if rank != slow)
    assert len(arrived(net)) == 12
    if slow or size > 25 * MB:
        assert others <= 1.3 * before
        assert net.head_sent <= 1.05 * size


def test_nodes_that_cannot_log_in_stop_the_copy() -> None:
    net = made(24)
    net.refused = "n5: Permission denied (publickey)."
    assert net.run() < 5
    assert "use --relay=sshd" in net.line.stopped and "Permission denied" in net.line.stopped
    assert not arrived(net) and net.head_sent < SIZE
    assert all(node.reason == net.line.stopped for node in net.line.nodes)


@pytest.mark.parametrize("nodes", [5, 24])
def test_logins_that_are_refused_one_after_another_stop_the_copy_too(nodes: int) -> None:
    """Each has another source by then than at first: that of the node before it, which was refused earlier."""
    net = made(nodes)
    net.refused = "Permission denied (publickey)."
    for node in net.nodes:
        node.slow_login = 0.1 * (node.rank % 6)
    net.run()
    assert "use --relay=sshd" in net.line.stopped
    assert len(arrived(net)) < nodes / 2 and net.head_sent < SIZE * (nodes / 2)


def test_two_nodes_that_cannot_log_in_stop_the_copy() -> None:
    net = made(2)
    net.refused = "Permission denied (publickey)."
    net.run()
    assert "use --relay=sshd" in net.line.stopped


def test_a_second_node_whose_source_has_just_died_gets_it_from_the_head() -> None:
    net = made(2)
    net.unreachable.add((1, 0))
    net.run()
    assert len(arrived(net)) == 2 and not net.line.stopped


def test_links_that_are_down_between_most_nodes_do_not_stop_the_copy() -> None:
    """They fail at once, before the first login is over."""
    net = made(6)
    net.unreachable.update((here, there) for here in (1, 2, 3, 4) for there in range(6))
    net.nodes[5].slow_login = 0.5
    net.run()
    assert len(arrived(net)) == 6 and not net.line.stopped


@pytest.mark.parametrize("nodes", [6, 24])
def test_nodes_of_which_none_reaches_another_stop_the_copy(nodes: int) -> None:
    net = made(nodes)
    net.unreachable.update((here, there) for here in range(nodes) for there in range(nodes))
    assert net.run() < 5
    assert "use --relay=sshd" in net.line.stopped and "No route to host" in net.line.stopped


def test_a_file_system_that_nodes_share_stops_the_copy() -> None:
    net = made(4)
    net.at(0.5, lambda: net.do(net.line.shared(2, 1)))
    net.run()
    assert "n1 and n2" in net.line.stopped and "share" in net.line.stopped


def test_a_node_that_nobody_reaches_is_given_up_with_its_reasons() -> None:
    line = RelayLine(["a", "b", "c"], SIZE)
    now = 0.0
    effects = line.ready(0, None, now)
    assert isinstance(effects[0], Take)
    reasons = 0
    while line.nodes[0].is_live and reasons < 100:
        reasons += 1
        now += 1
        line.take(0, line.nodes[0].seq, 0)
        line.feed_failed(0, line.nodes[0].seq, "No route to host", now)
        line.tick(now + 0.6)
    assert line.nodes[0].reason == "no source reachable: head: No route to host"
    assert reasons <= 4


@pytest.mark.parametrize("event", ["cut", "done"])
def test_a_stall_is_found_as_soon_after_long_pulls(event: str) -> None:
    """Only the first bytes of an order count for how long a start takes."""
    line = RelayLine(["a", "b"], SIZE)
    line.ready(0, None, 0.0)
    line.ready(1, None, 0.0)
    line.take(0, 1, 0)
    for rank in (0, 1):
        line.at(rank, MB, 1.0)
    source = line.nodes[1].source
    if event == "cut":
        line.need(1, 1, 2 * MB, "cut", "connection closed", 100.0)
        line.at(0, 24 * MB, 105.0)
    else:
        line.at(1, 2 * MB, 100.0)
        line.done(0, 100.0)
    line.tick(101.0)
    assert line.nodes[1].source == source and source is not None
    line.tick(106.0)
    assert line.nodes[1].failures[source] == "no byte has arrived"


def test_a_refused_login_is_one_also_with_bytes_of_an_earlier_order() -> None:
    line = RelayLine(["a", "b"], SIZE, "use --relay=sshd")
    line.ready(0, None, 0.0)
    line.ready(1, None, 0.0)
    answer = relaywire.parse(b"mpshell need 1 4096 login Permission denied (publickey).")
    assert isinstance(answer, relaywire.NeedAnswer)
    line.need(1, *answer, 1.0)
    assert "use --relay=sshd" in line.stopped


def test_an_answer_to_an_older_order_is_dropped() -> None:
    net = made(4)
    net.at(3, lambda: net.do(net.line.need(2, net.line.nodes[2].seq - 1, 0, "cut", "", net.now)))
    net.at(3, lambda: net.do(net.line.bad(2, net.line.nodes[2].seq - 1, net.now)))
    net.run()
    assert net.line.nodes[2].seq == 1 and len(arrived(net)) == 4


def test_a_thousand_nodes_have_several_lines_where_that_is_faster() -> None:
    size, bandwidth = 500 * MB, 100.0 * MB
    net = SimNet(1000, size, bandwidth, lag=0.03)
    net.start([0.001 * rank for rank in range(1000)])
    seconds = net.run()
    assert len(arrived(net)) == 1000
    # One line alone takes 5 s and 999 hops of 0.08 s (a step of the simulation and the lag).
    assert seconds < 50 and 1.5 * size < net.head_sent < 8.5 * size


def test_a_thousand_nodes_in_one_line_cost_the_head_one_copy() -> None:
    net = SimNet(1000, 50 * MB, 1.0 * MB, lag=0.0)
    net.STEP = 0.25
    net.start([0.01 * rank for rank in range(1000)])
    net.run(2000)
    assert len(arrived(net)) == 1000 and net.head_sent <= 1.05 * 50 * MB


@pytest.mark.parametrize("seed", range(24))
def test_random_faults(seed: int) -> None:
    rng = random.Random(seed)
    nodes = rng.choice((2, 5, 12, 40, 100))
    net = SimNet(nodes, SIZE)
    net.start([rng.uniform(0, 3) for _ in range(nodes)])
    dead = set()
    for rank in rng.sample(range(nodes), nodes // 5):
        how = rng.choice(("kill", "cut", "slow", "liar", "disk"))
        when = rng.uniform(0, 20)
        if how == "kill":
            net.at(when, functools.partial(net.kill, rank))
        elif how == "cut":
            net.at(when, functools.partial(net.cut_link, rank))
        elif how == "slow":
            net.nodes[rank].bandwidth /= rng.choice((2, 5, 10))
        elif how == "liar":
            net.nodes[rank].liar = True
        else:
            net.nodes[rank].fails_at = rng.uniform(0, SIZE)
        if how in ("kill", "cut", "disk"):
            dead.add(rank)
    for _ in range(nodes // 4):
        net.unreachable.add((rng.randrange(nodes), rng.randrange(nodes)))
    net.run(900)
    assert set(range(nodes)) - dead <= set(arrived(net)), net.line.stopped
    for node in net.line.nodes:
        assert node.repairs <= 8
        assert node.rank in arrived(net) or node.reason


def test_a_thousand_nodes_with_random_faults() -> None:
    rng = random.Random(4)
    net = SimNet(1000, SIZE)
    net.STEP = 0.1
    net.start([rng.uniform(0, 5) for _ in range(1000)])
    dead = rng.sample(range(1000), 40)
    for rank in dead:
        kill = net.kill if rng.random() < 0.7 else net.cut_link
        net.at(rng.uniform(0, 60), functools.partial(kill, rank))
    for _ in range(50):
        net.unreachable.add((rng.randrange(1000), rng.randrange(1000)))
    net.run(900)
    assert set(range(1000)) - set(dead) <= set(arrived(net)), net.line.stopped
    assert sum(isinstance(order, (Pull, Take)) for order in net.orders) < 1000 + 40 * 10 + 50 * 8


def test_nodes_that_have_the_file_make_room_but_for_some() -> None:
    line = RelayLine([f"n{rank}" for rank in range(50)], 10)
    for rank in range(50):
        line.ready(rank, None, 0.0)
        line.done(rank, 1.0)
    assert line.retire(0) == [] and len(line.retire(5)) == 5
    assert len(line.retire(100)) == 50 - 5 - 32
    assert line.retire(100) == []


def test_the_progress_names_the_slowest_link() -> None:
    net = made(6, 50 * MB)
    net.nodes[5].bandwidth /= 2
    seen: list[RelayProgress] = []
    for when in (0.1, 10.0):
        net.at(when, lambda: seen.append(progress_of(net.line, net.now)))
    net.run()
    early, midway, last = *seen, progress_of(net.line, net.now)
    assert early == RelayProgress(50 * MB, 0, 0.0, 0, 6, "", 0.0)
    assert midway.slowest == "n5 <- n4" and 0 < midway.slowest_rate < 0.6 * midway.rate
    assert 2.4 * MB < midway.rate < 2.6 * MB and 15 * MB < midway.offset < 25 * MB
    assert last == RelayProgress(50 * MB, 50 * MB, 0.0, 6, 6, "", 0.0)


def test_the_states_of_a_node_are_those_of_its_table() -> None:
    assert set(TABLE) == set(STATES)
    assert {event for row in TABLE.values() for event in row} == set(EVENTS)
    assert {after for row in TABLE.values() for after in row.values()} <= set(STATES)
