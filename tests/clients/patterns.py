"""What applications build on Redis, with redis-py: queues, locks, chat, consumer groups, a rate limiter, transactions.

Prints "ok NAME" or "FAILED NAME: why" for each check; the caller counts.
"""

import sys
import threading
import time
import traceback
import uuid

import redis

HOST, PORT = sys.argv[1], int(sys.argv[2])
#: How long anything may take that another thread has to do, in seconds.
PATIENCE = 20


def client(protocol=2, **options):
    return redis.Redis(HOST, PORT, decode_responses=True, protocol=protocol, socket_timeout=PATIENCE, **options)


def equal(got, expected):
    assert got == expected, f"{got!r} instead of {expected!r}"


def together(*bodies):
    """Runs all at once; the first error of any is raised."""
    errors = []

    def guarded(body):
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 2)
        assert not thread.is_alive(), "a thread does not end"
    if errors:
        raise errors[0]


def queue_with_waiting_workers(protocol, p):
    done, lock = [], threading.Lock()

    def worker():
        r = client(protocol)
        while True:
            _, job = r.blpop([f"{p}:jobs"], timeout=PATIENCE)
            if job == "stop":
                return
            with lock:
                done.append(int(job))

    def producer(start):
        r = client(protocol)
        for number in range(start, start + 250):
            r.rpush(f"{p}:jobs", number)

    def producers():
        together(*(lambda start=start: producer(start) for start in range(0, 1000, 250)))
        client(protocol).rpush(f"{p}:jobs", *["stop"] * 8)

    together(producers, *[worker] * 8)
    equal(sorted(done), list(range(1000)))


def reliable_queue(protocol, p):
    r = client(protocol)
    r.rpush(f"{{{p}}}:in", "a", "b")
    equal(r.blmove(f"{{{p}}}:in", f"{{{p}}}:doing", PATIENCE, "LEFT", "RIGHT"), "a")
    equal(r.brpoplpush(f"{{{p}}}:in", f"{{{p}}}:doing", PATIENCE), "b")
    equal(r.lrem(f"{{{p}}}:doing", 1, "a"), 1)
    equal(r.blpop([f"{{{p}}}:in"], timeout=1), None)


def locks(protocol, p):
    inside, most = [0], [0]

    def contender():
        r = client(protocol)
        for _ in range(20):
            with r.lock(f"{p}:lock", timeout=10, blocking_timeout=PATIENCE, sleep=0.005):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    together(*[contender] * 5)
    equal(most, [1])
    # as redlock takes one: SET NX PX, released by a script that compares the token
    r, token = client(protocol), uuid.uuid4().hex
    equal(r.set(f"{p}:redlock", token, nx=True, px=10_000), True)
    equal(r.set(f"{p}:redlock", "other", nx=True, px=10_000), None)
    release = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
    equal(r.eval(release, 1, f"{p}:redlock", "other"), 0)
    equal(r.eval(release, 1, f"{p}:redlock", token), 1)


def chat(protocol, p):
    rooms = [f"{p}:room{n}" for n in range(6)]
    listeners, heard = [], []
    for _ in range(4):
        listener = client(protocol).pubsub(ignore_subscribe_messages=False)
        listener.subscribe(*rooms)
        listener.psubscribe(f"{p}:room[0-2]")
        confirmed = 0
        while confirmed < len(rooms) + 1:
            message = listener.get_message(timeout=PATIENCE)
            assert message and message["type"] in ("subscribe", "psubscribe"), message
            confirmed += 1
        listeners.append(listener)
    r = client(protocol)
    for number in range(60):
        # each listener hears the room, and three rooms once more by the pattern
        equal(r.publish(rooms[number % 6], number), 8 if number % 6 < 3 else 4)
    for listener in listeners:
        messages = []
        while len(messages) < 90:
            message = listener.get_message(timeout=PATIENCE)
            assert message, f"{len(messages)} of 90 messages came"
            messages.append((message["type"], message["channel"], int(message["data"])))
        heard.append(sorted(messages))
        listener.unsubscribe()
        listener.punsubscribe()
        listener.close()
    assert all(one == heard[0] for one in heard)
    equal(sorted(n for kind, _, n in heard[0] if kind == "message"), list(range(60)))


def consumer_group(protocol, p):
    r, stream = client(protocol), f"{p}:events"
    r.xgroup_create(stream, "workers", id="0", mkstream=True)
    seen, lock = [], threading.Lock()

    def consumer(name):
        mine = client(protocol)
        while True:
            batch = mine.xreadgroup("workers", name, {stream: ">"}, count=7, block=PATIENCE * 1000)
            pairs = batch.items() if isinstance(batch, dict) else batch
            for _, entries in pairs:
                for entry in entries[0] if protocol == 3 and entries and isinstance(entries[0], list) else entries:
                    number = entry[1]["n"]
                    mine.xack(stream, "workers", entry[0])
                    if number == "stop":
                        return
                    with lock:
                        seen.append(int(number))

    def producer():
        for number in range(300):
            r.xadd(stream, {"n": number})

    def all_of_it():
        producer()
        deadline = time.monotonic() + PATIENCE
        while len(seen) < 300 and time.monotonic() < deadline:
            time.sleep(0.01)
        # one each: who has stopped reads no more
        for _ in range(3):
            before = threading.active_count()
            r.xadd(stream, {"n": "stop"})
            while threading.active_count() >= before and time.monotonic() < deadline:
                time.sleep(0.01)

    together(all_of_it, *(lambda name=name: consumer(name) for name in ("a", "b", "c")))
    equal(sorted(seen), list(range(300)))
    equal(r.xpending(stream, "workers")["pending"], 0)


def rate_limiter(protocol, p):
    r = client(protocol)
    limiter = r.register_script(
        "local n = redis.call('INCR', KEYS[1]) "
        "if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end "
        "if n > tonumber(ARGV[2]) then return 0 end return 1"
    )
    for user in range(20):
        answers = [limiter(keys=[f"{p}:{user}"], args=[60_000, 5]) for _ in range(8)]
        equal(answers, [1] * 5 + [0] * 3)


def transactions(protocol, p):
    r = client(protocol)
    with r.pipeline() as pipe:
        pipe.incr(f"{{{p}}}:n").lpush(f"{{{p}}}:l", "x").hset(f"{{{p}}}:h", "f", 1).get(f"{{{p}}}:n")
        equal(pipe.execute(), [1, 1, 1, "1"])
    with r.pipeline() as pipe:
        pipe.set(f"{{{p}}}:s", "x").incr(f"{{{p}}}:s").get(f"{{{p}}}:s")
        answers = pipe.execute(raise_on_error=False)
        equal((answers[0], type(answers[1]).__name__, answers[2]), (True, "ResponseError", "x"))

    def counter():
        mine = client(protocol)

        def increase(pipe):
            value = int(pipe.get(f"{p}:counter") or 0)
            pipe.multi()
            pipe.set(f"{p}:counter", value + 1)

        for _ in range(25):
            mine.transaction(increase, f"{p}:counter")

    together(*[counter] * 8)
    equal(r.get(f"{p}:counter"), "200")


def scan_all(protocol, p):
    r = client(protocol)
    with r.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.set(f"{p}:key{number}", number)
        pipe.execute()
    equal({key for key in r.scan_iter(f"{p}:key*", count=50)}, {f"{p}:key{n}" for n in range(500)})
    r.zadd(f"{p}:z", {f"m{n}": n for n in range(200)})
    equal(len(dict(r.zscan_iter(f"{p}:z"))), 200)


def databases(protocol, p):
    one, two = client(protocol), client(protocol, db=2)
    one.set(f"{p}:k", "zero")
    equal(two.get(f"{p}:k"), None)
    two.set(f"{p}:k", "two")
    equal((one.get(f"{p}:k"), two.get(f"{p}:k")), ("zero", "two"))


CHECKS = [
    queue_with_waiting_workers,
    reliable_queue,
    locks,
    chat,
    consumer_group,
    rate_limiter,
    transactions,
    scan_all,
    databases,
]


def main():
    failed = 0
    for protocol in (2, 3):
        for check in CHECKS:
            name = f"patterns RESP{protocol} {check.__name__}"
            try:
                check(protocol, f"patterns:{protocol}:{check.__name__}:{uuid.uuid4().hex[:6]}")
                print(f"ok {name}")
            except Exception as error:  # noqa: BLE001 - every failure is told
                failed += 1
                print(f"FAILED {name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
                traceback.print_exc(file=sys.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
