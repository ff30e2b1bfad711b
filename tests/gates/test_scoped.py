"""Recording and forcing hold inside their ``with`` statement only, however it is left."""

import asyncio
import contextvars

import pytest
import torch

from mmbas.costs import count_macs
from mmbas.gates import ChannelGate, force_gate_logits, record_gate_outputs
from mmbas.gates.recorder import forced_logits, is_recording
from mmbas.gates.scoped import Scoped

X = torch.ones(2, 4, 3, 3)


@pytest.fixture
def gate():
    return ChannelGate(4, 8).eval()


def steps(gate, value):
    """A generator that pauses inside its statements."""
    with force_gate_logits(gate, value), record_gate_outputs(gate), count_macs(gate):
        yield gate(X)


def assert_nothing_holds(gate):
    assert not is_recording()
    assert forced_logits(gate) is None


def test_generators_that_end_in_the_order_they_began(gate):
    first, second = steps(gate, 1.0), steps(gate, -1.0)
    assert next(first).gates.all()
    assert not next(second).gates.any()
    assert not list(first)
    assert not gate(X).gates.any()  # the second one holds still
    assert not list(second)
    assert_nothing_holds(gate)


def test_a_generator_that_is_closed_elsewhere(gate):
    generator = steps(gate, 1.0)
    next(generator)
    contextvars.copy_context().run(generator.close)
    assert_nothing_holds(gate)


def test_a_task_that_outlives_the_statement_it_was_started_in(gate):
    async def later(ended):
        await ended.wait()
        assert_nothing_holds(gate)
        return gate(X)

    async def main():
        ended = asyncio.Event()
        with force_gate_logits(gate, 1.0), record_gate_outputs(gate) as records:
            task = asyncio.create_task(later(ended))
            await asyncio.sleep(0)
            gate(X)
        ended.set()
        await task
        return records

    records = asyncio.run(main())
    assert [len(calls) for calls in records.values()] == [1]


def test_tasks_do_not_see_each_other(gate):
    async def force(value):
        with force_gate_logits(gate, value):
            await asyncio.sleep(0)
            return gate(X).gates.mean().item()

    async def main():
        return await asyncio.gather(force(1.0), force(-1.0), force(1.0))

    assert asyncio.run(main()) == [1, 0, 1]


def test_an_equal_value_that_is_held_twice():
    scoped = Scoped("numbers")
    with scoped.holding(1):
        with scoped.holding(1):
            assert scoped.values() == [1, 1]
        assert scoped.values() == [1]
    assert scoped.values() == []
