"""Scenarios that use nsqd through pynsq: scenarios.py <name> <address>...

The address is nsqd's for TCP; those of discover are nsqlookupds' for HTTP.
Exit status 0 and a short report, or 1 and the reason.
"""

import asyncio
import os
import sys
import time

import nsq
from nsq.protocol import Error

TOPIC = "python"
CHANNEL = "scenarios"
# More than any scenario should take.
PATIENCE_S = 60


class Failed(Exception):
    """What nsqd did otherwise than promised."""


def layers():
    """Settings for the layers and the secret that the environment names."""
    names = os.environ.get("NSQ_LAYERS", "").split()
    settings = {{"tls": "tls_v1"}.get(name, name): True for name in names}
    if "NSQ_SECRET" in os.environ:
        settings["auth_secret"] = os.environ["NSQ_SECRET"]
    if "tls" in names:
        files = {"ca_certs": "NSQ_CA", "certfile": "NSQ_CERT", "keyfile": "NSQ_KEY"}
        settings["tls_options"] = {key: os.environ[name] for key, name in files.items() if name in os.environ}
    return settings


class Setup:
    def __init__(self, addresses):
        self.address = addresses[0]
        self.addresses = addresses
        self.readers = []

    async def writer(self, **settings):
        writer = nsq.Writer([self.address], reconnect_interval=0.2, **layers(), **settings)
        await until("the writer is connected", lambda: connected(writer))
        return writer

    def reader(self, handle, **settings):
        reader = nsq.Reader(
            topic=TOPIC,
            channel=CHANNEL,
            message_handler=handle,
            **layers(),
            **({"nsqd_tcp_addresses": [self.address]} | settings),
        )
        self.readers.append(reader)
        return reader

    async def publish_all(self, bodies):
        writer = await self.writer()
        await asyncio.gather(*(publish(writer, body) for body in bodies))
        return writer


async def scenario_publish(setup):
    await setup.publish_all(bodies(10))


async def scenario_multi_publish(setup):
    writer = await setup.writer()
    await answer(lambda done: writer.mpub(TOPIC, bodies(10), callback=done))


async def scenario_deferred_publish(setup):
    delay_ms = 700
    received = []

    def handle(message):
        received.append(time.monotonic())
        return True

    reader = setup.reader(handle)
    await until("the reader is connected", lambda: connected(reader))
    writer = await setup.writer()
    published = time.monotonic()
    await answer(lambda done: writer.dpub(TOPIC, delay_ms, b"later", callback=done))
    await until("the message comes", lambda: received)
    if received[0] - published < delay_ms / 1000:
        raise Failed(f"came after {received[0] - published:.3f} s, not {delay_ms} ms")


async def consume(setup, count, max_in_flight):
    """Takes count messages and never holds more than max_in_flight."""
    await setup.publish_all(bodies(count))
    seen = set()
    held = 0
    most_held = 0

    async def handle(message):
        nonlocal held, most_held
        held += 1
        most_held = max(most_held, held)
        await asyncio.sleep(0)
        seen.add(message.body)
        held -= 1
        return True

    setup.reader(handle, max_in_flight=max_in_flight)
    await until(f"{count} messages come", lambda: len(seen) == count)
    if most_held > max_in_flight:
        raise Failed(f"{most_held} in flight, not {max_in_flight}")


async def scenario_consume_one(setup):
    await consume(setup, 50, 1)


async def scenario_consume_many(setup):
    await consume(setup, 1000, 100)


async def scenario_requeue(setup):
    delay_ms = 200
    await setup.publish_all(bodies(1))
    deliveries = []

    def handle(message):
        deliveries.append((message.attempts, time.monotonic()))
        message.enable_async()
        if len(deliveries) < 4:
            message.requeue(backoff=False, time_ms=delay_ms)
        else:
            message.finish()

    setup.reader(handle)
    await until("four deliveries", lambda: len(deliveries) >= 4)
    if [attempts for attempts, _ in deliveries] != [1, 2, 3, 4]:
        raise Failed(f"deliveries {deliveries}")
    for (_, before), (_, after) in zip(deliveries, deliveries[1:]):
        if after - before < delay_ms / 1000:
            raise Failed(f"came back after {after - before:.3f} s, not {delay_ms} ms")


async def scenario_touch(setup):
    """Holds a message for more than twice its timeout."""
    await setup.publish_all(bodies(1))
    attempts = []
    finished = asyncio.Event()

    async def handle(message):
        attempts.append(message.attempts)
        for _ in range(8):
            await asyncio.sleep(0.3)
            message.touch()
        finished.set()
        return True

    setup.reader(handle, msg_timeout=1)
    await asyncio.wait_for(finished.wait(), PATIENCE_S)
    if attempts != [1]:
        raise Failed(f"delivered with attempts {attempts}")


async def scenario_timeout(setup):
    await setup.publish_all(bodies(1))
    deliveries = []

    def handle(message):
        deliveries.append((message.attempts, time.monotonic()))
        message.enable_async()
        if message.attempts > 1:
            message.finish()

    # One is never answered, so a second must be allowed.
    setup.reader(handle, msg_timeout=1, max_in_flight=2)
    await until("two deliveries", lambda: len(deliveries) >= 2)
    if [attempts for attempts, _ in deliveries] != [1, 2]:
        raise Failed(f"deliveries {deliveries}")
    held = deliveries[1][1] - deliveries[0][1]
    # nsqd counts from when it sent the message, which was a little earlier.
    if held < 0.9:
        raise Failed(f"came back after {held:.3f} s")


async def scenario_reconnect(setup):
    """Has nsqd killed while messages are queued, and publishes more afterwards."""
    before, after = 200, 100
    all_bodies = bodies(before + after)
    writer = await setup.publish_all(all_bodies[:before])
    seen = set()

    async def handle(message):
        await asyncio.sleep(0.002)
        seen.add(message.body)
        return True

    setup.reader(handle, msg_timeout=1)
    await until("some messages come", lambda: len(seen) >= 20)
    await restart()
    # pynsq has not yet noticed: what fails now is published again.
    for body in all_bodies[before:]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                await publish(writer, body)
                break
            except Failed:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
    # A reader tries a lost nsqd again after a fixed 15 seconds.
    await until("all messages come", lambda: len(seen) == before + after)


async def scenario_large_body(setup):
    sent = b"0123456789" * 10_000
    await setup.publish_all([sent])
    received = []

    def handle(message):
        received.append(message.body)
        return True

    setup.reader(handle)
    await until("the message comes", lambda: received)
    if received != [sent]:
        raise Failed(f"another body of {len(received[0])} bytes came back")


async def scenario_heartbeat(setup):
    """Idles for longer than nsqd lets a client be silent."""
    received = []

    def handle(message):
        received.append(message.body)
        return True

    reader = setup.reader(handle, heartbeat_interval=1)
    writer = await setup.writer(heartbeat_interval=1)
    await until("the reader is connected", lambda: connected(reader))
    first = (*reader.conns.values(), *writer.conns.values())
    await asyncio.sleep(3.5)
    if first != (*reader.conns.values(), *writer.conns.values()) or not all(c.connected() for c in first):
        raise Failed("a connection was lost")
    await publish(writer, b"after idling")
    await until("the message comes", lambda: received)


async def scenario_discover(setup):
    """Knows only nsqlookupds. One of the nsqds that it finds there is killed."""
    seen = set()

    async def handle(message):
        await asyncio.sleep(0.002)
        seen.add(message.body)
        return True

    reader = setup.reader(
        handle,
        nsqd_tcp_addresses=[],
        lookupd_http_addresses=setup.addresses,
        lookupd_poll_interval=1,
        lookupd_poll_jitter=0.0,
        max_in_flight=4,
        msg_timeout=1,
    )
    await until("two nsqds are found", lambda: connected(reader, 2))
    await until("some messages come", lambda: len(seen) >= 20)
    published = int(await restart())
    # A reader tries an nsqd again at most every 10 seconds.
    await until(f"{published} messages come", lambda: len(seen) == published)


async def scenario_pauses(setup):
    """Knows only nsqlookupds and has default settings but for the number in flight."""
    await pauses(setup, nsqd_tcp_addresses=[], lookupd_http_addresses=setup.addresses, max_in_flight=3)


async def scenario_default_pauses(setup):
    """Knows only nsqlookupds and has default settings: one message in flight."""
    await pauses(setup, nsqd_tcp_addresses=[], lookupd_http_addresses=setup.addresses)


async def scenario_single_pauses(setup):
    """Knows one nsqd and has default settings: one message in flight."""
    await pauses(setup)


async def scenario_rate(setup):
    """Knows some nsqds and has default settings: one message in flight. Reports how many messages come in a second."""
    seen = []

    def handle(_message):
        seen.append(time.monotonic())
        return True

    setup.reader(handle, nsqd_tcp_addresses=setup.addresses)
    count = int(os.environ["NSQ_COUNT"])
    await until(f"{count} messages come", lambda: len(seen) >= count)
    print(f"rate {round((count - 1) / (seen[count - 1] - seen[0]))} messages/s", flush=True)


async def pauses(setup, **settings):
    """Bodies say when they were published, in nanoseconds. Reports the longest time until a message came."""
    seen = set()
    longest = 0

    def handle(message):
        nonlocal longest
        if message.body not in seen:
            seen.add(message.body)
            longest = max(longest, time.time_ns() - int(message.body))
        return True

    setup.reader(handle, **settings)
    await until("some messages come", lambda: len(seen) >= 20)
    published = int(await restart())
    await until(f"{published} messages come", lambda: len(seen) >= published)
    print(f"longest {longest // 1_000_000} ms", flush=True)


async def restart():
    """Has the test kill nsqd and start it again; what the test says then."""
    print("restart", flush=True)
    return await asyncio.to_thread(sys.stdin.readline)


def connected(reader_or_writer, count=1):
    connections = reader_or_writer.conns.values()
    return len(connections) >= count and all(connection.connected() for connection in connections)


async def publish(writer, body):
    await answer(lambda done: writer.pub(TOPIC, body, callback=done))


async def answer(send):
    """Waits for what nsqd says to one publish."""
    answered = asyncio.get_running_loop().create_future()

    def done(_connection, data):
        if not answered.done():
            answered.set_result(data)

    # What it returns only says whether the bytes were sent.
    sent = send(done)
    if sent is not None:
        sent.add_done_callback(lambda future: future.exception())
    data = await asyncio.wait_for(answered, PATIENCE_S)
    if isinstance(data, (Error, Exception)) or data != b"OK":
        raise Failed(f"publish was answered by {data!r}")


async def until(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {PATIENCE_S} s in vain: {what}")
        await asyncio.sleep(0.01)


def bodies(count):
    return [b"message %d" % i for i in range(count)]


async def main():
    name, *addresses = sys.argv[1:]
    setup = Setup(addresses)
    await globals()["scenario_" + name.replace("-", "_")](setup)
    # What was finished last may still be in a buffer.
    await asyncio.sleep(0.05)
    for reader in setup.readers:
        reader.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Failed as reason:
        sys.exit(str(reason))
