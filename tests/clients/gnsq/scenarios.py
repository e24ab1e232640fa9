"""Scenarios that use nsqd through gnsq: scenarios.py <name> <address>...

The address is nsqd's for TCP; those of discover are nsqlookupds' for HTTP.
Every delivery is reported as a line `<body> <attempts>`; then comes a line `done`, and the program waits for a line
in return: by then the test has seen in nsqd's statistics that every answer arrived.
Exit status 0, or 1 and the reason.
"""

# gnsq asks nsqlookupd with blocking sockets unless gevent replaces them, before anything else is imported.
from gevent import monkey

monkey.patch_all()

import sys
import time

import gevent
import gnsq
from gevent.event import Event

TOPIC = "gnsq"
CHANNEL = "scenarios"
# More than any scenario should take.
PATIENCE_S = 60


class Failed(Exception):
    """nsqd broke a promise."""


class Deliveries:
    """Consumes with `handle`, which returns True after the last delivery."""

    def __init__(self, handle, max_in_flight=1, **sources):
        self.handle = handle
        self.finished = Event()
        self.failure = None
        self.consumer = gnsq.Consumer(
            TOPIC, CHANNEL, message_handler=self.deliver, max_in_flight=max_in_flight, **sources
        )
        self.consumer.start(block=False)

    def deliver(self, _consumer, message):
        # gnsq finishes a message when the handler returns, unless it is asynchronous.
        message.enable_async()
        print(message.body.decode(), message.attempts, flush=True)
        try:
            if self.handle(message):
                self.finished.set()
        except Failed as failure:
            self.failure = failure
            self.finished.set()

    def wait(self):
        if not self.finished.wait(PATIENCE_S):
            raise Failed(f"not all messages came within {PATIENCE_S} s")
        if self.failure:
            raise self.failure
        print("done", flush=True)
        sys.stdin.readline()
        self.consumer.close()


def publish(address, one_by_one, at_once=()):
    producer = gnsq.Producer([address])
    producer.start()
    for body in one_by_one:
        producer.publish(TOPIC, body)
    if at_once:
        producer.multipublish(TOPIC, list(at_once))
    return producer


def consume(addresses):
    all_bodies = bodies(100)
    producer = publish(addresses[0], all_bodies[:10], all_bodies[10:])
    wait_for_all(100, nsqd_tcp_addresses=addresses)
    producer.close()


def requeue(addresses):
    """Requeues each of 10 messages once."""
    delay_s = 0.2
    producer = publish(addresses[0], bodies(10))
    requeued = {}
    seen = set()

    def handle(message):
        if message.attempts == 1:
            requeued[message.body] = time.monotonic()
            message.requeue(time_ms=int(delay_s * 1000), backoff=False)
            return False
        after_s = time.monotonic() - requeued[message.body]
        if after_s < delay_s:
            raise Failed(f"came back after {after_s:.3f} s, not {delay_s} s")
        seen.add(message.body)
        message.finish()
        return len(seen) == 10

    Deliveries(handle, 5, nsqd_tcp_addresses=addresses).wait()
    producer.close()


def defer(addresses):
    delay_s = 0.5
    producer = publish(addresses[0], [])
    published = time.monotonic()
    producer.publish(TOPIC, b"later", defer=int(delay_s * 1000))

    def handle(message):
        after_s = time.monotonic() - published
        if after_s < delay_s:
            raise Failed(f"came after {after_s:.3f} s, not {delay_s} s")
        message.finish()
        return True

    Deliveries(handle, nsqd_tcp_addresses=addresses).wait()
    producer.close()


def touch(addresses):
    """Holds a message for more than twice nsqd's timeout of a second."""
    producer = publish(addresses[0], [b"held"])

    def handle(message):
        for _ in range(8):
            gevent.sleep(0.3)
            message.touch()
        message.finish()
        return True

    Deliveries(handle, nsqd_tcp_addresses=addresses).wait()
    producer.close()


def time_out(addresses):
    """Leaves the first delivery without an answer."""
    producer = publish(addresses[0], [b"first", b"second"])
    seen = []

    def handle(message):
        seen.append(message.body)
        if len(seen) > 1:
            message.finish()
        return len(seen) == 3

    Deliveries(handle, nsqd_tcp_addresses=addresses).wait()
    producer.close()


def discover(addresses):
    """Knows only nsqlookupds."""
    wait_for_all(
        20, lookupd_http_addresses=[f"http://{address}" for address in addresses], lookupd_poll_interval=1
    )


def wait_for_all(count, **sources):
    seen = set()

    def handle(message):
        seen.add(message.body)
        message.finish()
        return len(seen) == count

    Deliveries(handle, 20, **sources).wait()


def bodies(count):
    return [b"message-%d" % i for i in range(count)]


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
        SCENARIOS[sys.argv[1]](sys.argv[2:])
    except Failed as reason:
        sys.exit(str(reason))
