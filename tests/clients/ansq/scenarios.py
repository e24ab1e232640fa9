"""Scenarios that use nsqd through ansq: scenarios.py <name> <address>...

The address is nsqd's for TCP; those of discover are nsqlookupds' for HTTP.
Every delivery is reported as a line `<body> <attempts>`; then comes a line `done`, and the program waits for a line
in return: by then the test has seen in nsqd's statistics that every answer arrived.
Exit status 0, or 1 and the reason.
"""

import asyncio
import sys
import time

import ansq
from ansq.tcp.types import ConnectionFeatures, ConnectionOptions

TOPIC = "ansq"
CHANNEL = "scenarios"
# More than any scenario should take.
PATIENCE_S = 60


class Failed(Exception):
    """nsqd broke a promise."""


async def publish(address, one_by_one, at_once=()):
    writer = await ansq.create_writer(nsqd_tcp_addresses=[address])
    for body in one_by_one:
        check(await writer.pub(TOPIC, body))
    if at_once:
        check(await writer.mpub(TOPIC, *at_once))
    return writer


def check(answer):
    if not answer.is_ok:
        raise Failed(f"a publish was answered by {answer}")


async def deliver(handle, max_in_flight=1, msg_timeout_ms=60_000, **sources):
    """Calls `handle` with each message until it returns True, then waits for the test."""
    # ansq refuses to answer a message that it takes for timed out, so it must know nsqd's timeout.
    options = ConnectionOptions(features=ConnectionFeatures(msg_timeout=msg_timeout_ms))
    reader = await ansq.create_reader(topic=TOPIC, channel=CHANNEL, connection_options=options, **sources)
    # Its readers have no setting for this, their connections do.
    for connection in reader.connections:
        await connection.rdy(max_in_flight)
    async for message in reader.messages():
        print(message.body.decode(), message.attempts, flush=True)
        if await handle(message):
            break
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await reader.close()


async def consume(addresses):
    all_bodies = bodies(100)
    writer = await publish(addresses[0], all_bodies[:10], all_bodies[10:])
    await wait_for_all(100, nsqd_tcp_addresses=addresses)
    await writer.close()


async def requeue(addresses):
    """Requeues each of 10 messages once."""
    delay_s = 0.2
    writer = await publish(addresses[0], bodies(10))
    requeued = {}
    seen = set()

    async def handle(message):
        if message.attempts == 1:
            requeued[message.body] = time.monotonic()
            await message.req(int(delay_s * 1000))
            return False
        after_s = time.monotonic() - requeued[message.body]
        if after_s < delay_s:
            raise Failed(f"came back after {after_s:.3f} s, not {delay_s} s")
        seen.add(message.body)
        await message.fin()
        return len(seen) == 10

    await deliver(handle, 5, nsqd_tcp_addresses=addresses)
    await writer.close()


async def defer(addresses):
    delay_s = 0.5
    writer = await publish(addresses[0], [])
    published = time.monotonic()
    check(await writer.dpub(TOPIC, "later", int(delay_s * 1000)))

    async def handle(message):
        after_s = time.monotonic() - published
        if after_s < delay_s:
            raise Failed(f"came after {after_s:.3f} s, not {delay_s} s")
        await message.fin()
        return True

    await deliver(handle, nsqd_tcp_addresses=addresses)
    await writer.close()


async def touch(addresses):
    """Holds a message for more than twice its timeout of a second."""
    writer = await publish(addresses[0], ["held"])

    async def handle(message):
        for _ in range(8):
            await asyncio.sleep(0.3)
            await message.touch()
        await message.fin()
        return True

    await deliver(handle, msg_timeout_ms=1000, nsqd_tcp_addresses=addresses)
    await writer.close()


async def time_out(addresses):
    """Leaves the first delivery without an answer."""
    writer = await publish(addresses[0], ["first", "second"])
    seen = []

    async def handle(message):
        seen.append(message)
        if len(seen) == 2:
            # As its own suite expects: a message that timed out can no longer be finished.
            try:
                await seen[0].fin()
            except RuntimeWarning:
                pass
            else:
                raise Failed("a message that had timed out was finished")
        if len(seen) > 1:
            await message.fin()
        return len(seen) == 3

    await deliver(handle, msg_timeout_ms=1000, nsqd_tcp_addresses=addresses)
    await writer.close()


async def discover(addresses):
    """Knows only nsqlookupds."""
    await wait_for_all(20, lookupd_http_addresses=addresses, lookupd_poll_interval=1000)


async def wait_for_all(count, **sources):
    seen = set()

    async def handle(message):
        seen.add(message.body)
        await message.fin()
        return len(seen) == count

    await deliver(handle, 20, **sources)


def bodies(count):
    return [f"message-{i}" for i in range(count)]


SCENARIOS = {
    "consume": consume,
    "requeue": requeue,
    "defer": defer,
    "touch": touch,
    "time-out": time_out,
    "discover": discover,
}

if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(SCENARIOS[sys.argv[1]](sys.argv[2:]), PATIENCE_S))
    except (Failed, asyncio.TimeoutError) as reason:
        sys.exit(repr(reason))
