"""redis-py through Ringway: the default handshake and everyday commands, sync and asyncio, RESP2 and RESP3.

Prints "ok NAME" or "FAILED NAME: why" for each check; the caller counts.
"""

import asyncio
import socket
import sys
import traceback

import redis
import redis.asyncio

HOST, PORT = sys.argv[1], int(sys.argv[2])


def equal(got, expected):
    assert got == expected, f"{got!r} instead of {expected!r}"


async def settle(value):
    """The value itself, or what it becomes: one body of checks serves both kinds of client."""
    return await value if hasattr(value, "__await__") else value


async def raises(kind, call):
    try:
        await settle(call())
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} expected")


async def strings(r, p):
    equal(await settle(r.ping()), True)
    equal(await settle(r.set(f"{p}:s", "value", ex=100)), True)
    equal(await settle(r.get(f"{p}:s")), "value")
    equal(await settle(r.get(f"{p}:none")), None)
    assert 0 < await settle(r.ttl(f"{p}:s")) <= 100
    equal(await settle(r.incrby(f"{p}:n", 41)), 41)
    equal(await settle(r.append(f"{p}:s", "!")), 6)
    equal(await settle(r.set(f"{p}:s", "x", nx=True)), None)
    equal(await settle(r.getdel(f"{p}:s")), "value!")


async def many_keys(r, p):
    pairs = {f"{p}:m{n}": str(n) for n in range(100)}
    equal(await settle(r.mset(pairs)), True)
    equal(await settle(r.mget(list(pairs) + [f"{p}:none"])), list(pairs.values()) + [None])
    equal(await settle(r.exists(*pairs, f"{p}:none")), 100)
    equal(await settle(r.touch(*pairs)), 100)
    equal(await settle(r.unlink(*list(pairs)[:50])), 50)
    equal(await settle(r.delete(*pairs)), 50)


async def hashes(r, p):
    equal(await settle(r.hset(f"{p}:h", mapping={"a": 1, "b": "zwei"})), 2)
    equal(await settle(r.hgetall(f"{p}:h")), {"a": "1", "b": "zwei"})
    equal(await settle(r.hmget(f"{p}:h", ["a", "none"])), ["1", None])
    equal(await settle(r.hincrby(f"{p}:h", "a", 5)), 6)
    equal(await settle(r.hdel(f"{p}:h", "a", "b")), 2)


async def lists_and_sets(r, p):
    equal(await settle(r.rpush(f"{p}:l", "a", "b", "c")), 3)
    equal(await settle(r.lrange(f"{p}:l", 0, -1)), ["a", "b", "c"])
    equal(await settle(r.lpop(f"{p}:l")), "a")
    equal(await settle(r.sadd(f"{p}:set", "x", "y")), 2)
    equal(set(await settle(r.smembers(f"{p}:set"))), {"x", "y"})
    equal(bool(await settle(r.sismember(f"{p}:set", "x"))), True)


async def sorted_sets(r, p):
    equal(await settle(r.zadd(f"{p}:z", {"a": 1, "b": 2.5})), 2)
    pairs = await settle(r.zrange(f"{p}:z", 0, -1, withscores=True))
    equal([tuple(pair) for pair in pairs], [("a", 1.0), ("b", 2.5)])
    equal(await settle(r.zscore(f"{p}:z", "b")), 2.5)
    equal(await settle(r.zrank(f"{p}:z", "none")), None)
    equal(await settle(r.zincrby(f"{p}:z", 2, "a")), 3.0)


async def streams(r, p):
    first = await settle(r.xadd(f"{p}:x", {"n": 1}))
    await settle(r.xadd(f"{p}:x", {"n": 2}))
    equal(await settle(r.xlen(f"{p}:x")), 2)
    entries = await settle(r.xrange(f"{p}:x"))
    equal(entries[0], (first, {"n": "1"}))
    equal(await settle(r.xgroup_create(f"{p}:x", "g", "0")), True)
    read = await settle(r.xreadgroup("g", "me", {f"{p}:x": ">"}, count=1))
    assert first in str(read), read
    equal(await settle(r.xack(f"{p}:x", "g", first)), 1)


async def scripts(r, p):
    code = "redis.call('SET', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), 7}"
    equal(await settle(r.eval(code, 1, f"{p}:lua", "v")), ["v", 7])
    message = await raises(redis.exceptions.NoScriptError, lambda: r.evalsha("f" * 40, 1, f"{p}:lua"))
    assert "No matching script" in message, message


async def errors(r, p):
    await settle(r.set(f"{p}:text", "x"))
    message = await raises(redis.exceptions.ResponseError, lambda: r.lpush(f"{p}:text", 1))
    assert "WRONGTYPE" in message or "wrong kind of value" in message, message
    message = await raises(redis.exceptions.ResponseError, lambda: r.execute_command("NOSUCH"))
    assert "unknown command" in message, message
    message = await raises(redis.exceptions.ResponseError, lambda: r.execute_command("KEYS", "*"))
    assert "KEYS" in message.upper(), message
    message = await raises(
        redis.exceptions.ResponseError, lambda: r.execute_command("SUNION", *[f"{p}:{n}" for n in range(20)])
    )
    assert "hash to the same node" in message, message
    equal(await settle(r.get(f"{p}:text")), "x")


async def pipelines(r, p):
    pipe = r.pipeline(transaction=False)
    for n in range(500):
        pipe.set(f"{p}:p{n}", n)
        pipe.get(f"{p}:p{n}")
        pipe.mget([f"{p}:p{n}", f"{p}:none"])
    results = await settle(pipe.execute())
    for n in range(500):
        equal(results[3 * n : 3 * n + 3], [True, str(n), [str(n), None]])
    pipe = r.pipeline(transaction=False)
    pipe.set(f"{p}:t", "text")
    pipe.incr(f"{p}:t")
    pipe.get(f"{p}:t")
    ok, error, value = await settle(pipe.execute(raise_on_error=False))
    equal((ok, value), (True, "text"))
    assert isinstance(error, redis.exceptions.ResponseError), error


async def binary(r, p):
    data = bytes(range(256)) * 10
    raw = type(r)(host=HOST, port=PORT)
    equal(await settle(raw.set(f"{p}:binary", data)), True)
    equal(await settle(raw.get(f"{p}:binary")), data)
    await settle(raw.aclose() if hasattr(raw, "aclose") else raw.close())


async def connection(r, p):
    equal(await settle(r.echo("hello")), "hello")
    assert await settle(r.client_id()) > 0
    assert "redis_version" in await settle(r.info())
    seconds, _ = await settle(r.time())
    assert seconds > 1_600_000_000, seconds
    assert await settle(r.command_count()) > 100


async def reconnect(r, p):
    await settle(r.set(f"{p}:kept", "yes"))
    if isinstance(r, redis.Redis):
        one = r.connection_pool.get_connection()
        one._sock.shutdown(socket.SHUT_RDWR)
        r.connection_pool.release(one)
    else:
        await r.connection_pool.disconnect()
    equal(await settle(r.get(f"{p}:kept")), "yes")


CHECKS = [
    strings, many_keys, hashes, lists_and_sets, sorted_sets, streams, scripts, errors, pipelines, binary, connection, reconnect,
]


async def suite(make, name):
    failed = 0
    for check in CHECKS:
        client = make()
        label = f"{name} {check.__name__}"
        try:
            await asyncio.wait_for(check(client, f"py:{name}:{check.__name__}".replace(" ", "-")), 30)
            print(f"ok {label}", flush=True)
        except Exception as error:  # every failure is one line; the trace follows
            failed += 1
            print(f"FAILED {label}: {type(error).__name__} {error}", flush=True)
            traceback.print_exc()
        finally:
            await settle(client.aclose() if hasattr(client, "aclose") else client.close())
    return failed


async def main():
    failed = 0
    for protocol in (2, 3):
        options = {"host": HOST, "port": PORT, "decode_responses": True, "protocol": protocol, "client_name": "ringway-test"}
        failed += await suite(lambda: redis.Redis(**options), f"sync RESP{protocol}")
        failed += await suite(lambda: redis.asyncio.Redis(**options), f"asyncio RESP{protocol}")
    # and with nothing chosen at all
    failed += await suite(lambda: redis.Redis(HOST, PORT, decode_responses=True), "defaults")
    return failed


sys.exit(1 if asyncio.run(main()) else 0)
