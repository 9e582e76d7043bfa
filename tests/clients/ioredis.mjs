// ioredis through Ringway: the default handshake (INFO for its ready check) and everyday commands.

import { Redis } from "ioredis";
import { assert, fails, run } from "./checks.mjs";

const [host, port] = [process.argv[2], Number(process.argv[3])];
const redis = new Redis({ host, port, connectionName: "ringway-test" });
redis.on("error", () => {});

const failed = await run("ioredis", {
  async strings(p) {
    assert.equal(await redis.ping(), "PONG");
    assert.equal(await redis.set(`${p}:s`, "value", "EX", 100), "OK");
    assert.equal(await redis.get(`${p}:s`), "value");
    assert.equal(await redis.get(`${p}:none`), null);
    assert.equal(await redis.incrby(`${p}:n`, 41), 41);
    assert.equal(await redis.del(`${p}:s`), 1);
  },
  async manyKeys(p) {
    const keys = Array.from({ length: 100 }, (_, n) => `${p}:${n}`);
    assert.equal(await redis.mset(Object.fromEntries(keys.map((key, n) => [key, n]))), "OK");
    const values = await redis.mget(...keys, `${p}:none`);
    assert.deepEqual(values, [...keys.map((_, n) => String(n)), null]);
    assert.equal(await redis.exists(...keys), 100);
    assert.equal(await redis.unlink(...keys), 100);
  },
  async hashesListsAndSets(p) {
    assert.equal(await redis.hset(`${p}:h`, { a: 1, b: "zwei" }), 2);
    assert.deepEqual(await redis.hgetall(`${p}:h`), { a: "1", b: "zwei" });
    assert.equal(await redis.rpush(`${p}:l`, "a", "b", "c"), 3);
    assert.deepEqual(await redis.lrange(`${p}:l`, 0, -1), ["a", "b", "c"]);
    await redis.sadd(`${p}:set`, "x", "y");
    assert.deepEqual((await redis.smembers(`${p}:set`)).sort(), ["x", "y"]);
  },
  async sortedSetsAndStreams(p) {
    assert.equal(await redis.zadd(`${p}:z`, 1, "a", 2.5, "b"), 2);
    // RESP2 gives pairs flat, RESP3 as pairs
    assert.deepEqual((await redis.zrange(`${p}:z`, 0, -1, "WITHSCORES")).flat().map(String), ["a", "1", "b", "2.5"]);
    const id = await redis.xadd(`${p}:x`, "*", "n", "1");
    assert.deepEqual(await redis.xrange(`${p}:x`, "-", "+"), [[id, ["n", "1"]]]);
    const read = await redis.xread("COUNT", 10, "STREAMS", `${p}:x`, "0");
    assert.match(JSON.stringify(read), new RegExp(id));
  },
  async scripts(p) {
    const code = "return {KEYS[1], ARGV[1], 7}";
    assert.deepEqual(await redis.eval(code, 1, `${p}:k`, "v"), [`${p}:k`, "v", 7]);
    // EVALSHA first, EVAL when the node does not know it
    redis.defineCommand("setAndGet", {
      numberOfKeys: 1,
      lua: "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])",
    });
    for (let n = 0; n < 20; n += 1) {
      assert.equal(await redis.setAndGet(`${p}:${n}`, `v${n}`), `v${n}`);
    }
  },
  async pipelines(p) {
    const pipeline = redis.pipeline();
    for (let n = 0; n < 500; n += 1) {
      pipeline.set(`${p}:${n}`, n).get(`${p}:${n}`).mget(`${p}:${n}`, `${p}:none`);
    }
    const results = await pipeline.exec();
    for (let n = 0; n < 500; n += 1) {
      const got = results.slice(3 * n, 3 * n + 3);
      assert.deepEqual(got, [[null, "OK"], [null, String(n)], [null, [String(n), null]]]);
    }
  },
  async concurrentCommandsKeepTheirReplies(p) {
    const echoes = Array.from({ length: 2000 }, (_, n) => redis.echo(`${p}:${n}`));
    (await Promise.all(echoes)).forEach((reply, n) => assert.equal(reply, `${p}:${n}`));
  },
  async autoPipelining(p) {
    const auto = new Redis({ host, port, enableAutoPipelining: true });
    try {
      await Promise.all(Array.from({ length: 200 }, (_, n) => auto.set(`${p}:${n}`, n)));
      const values = await Promise.all(Array.from({ length: 200 }, (_, n) => auto.get(`${p}:${n}`)));
      values.forEach((value, n) => assert.equal(value, String(n)));
    } finally {
      auto.disconnect();
    }
  },
  // a cache of the application's own: a second connection of RESP2 listens, to which nodes' messages are redirected
  async cachesByRedirect(p) {
    const [reader, listener] = [redis.duplicate(), redis.duplicate({ protocol: 2 })];
    try {
      const cache = new Map();
      listener.on("message", (channel, keys) => {
        assert.equal(channel, "__redis__:invalidate");
        String(keys).split(",").forEach((key) => cache.delete(key));
      });
      const id = await listener.client("ID");
      await listener.subscribe("__redis__:invalidate");
      assert.equal(await reader.client("TRACKING", "ON", "REDIRECT", id), "OK");
      const keys = Array.from({ length: 60 }, (_, n) => `${p}:${n}`);
      for (const value of ["old", "new", "newest"]) {
        await Promise.all(keys.map((key) => redis.set(key, value)));
        while (keys.some((key) => cache.has(key))) {
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        for (const key of keys) {
          cache.set(key, await reader.get(key));
        }
        assert.deepEqual([...cache.values()], keys.map(() => value));
      }
    } finally {
      reader.disconnect();
      listener.disconnect();
    }
  },
  async errors(p) {
    await redis.set(`${p}:text`, "x");
    await fails(redis.lpush(`${p}:text`, 1), /WRONGTYPE/);
    await fails(redis.call("NOSUCH"), /unknown command/);
    await fails(redis.keys("*"), /KEYS/i);
    await fails(redis.sunion(...Array.from({ length: 20 }, (_, n) => `${p}:${n}`)), /CROSSSLOT/);
    assert.equal(await redis.get(`${p}:text`), "x");
  },
  async binary(p) {
    const data = Buffer.from(Array.from({ length: 2560 }, (_, n) => n % 256));
    await redis.set(`${p}:binary`, data);
    assert.deepEqual(await redis.getBuffer(`${p}:binary`), data);
  },
  async reconnect(p) {
    await redis.set(`${p}:kept`, "yes");
    const again = new Promise((resolve) => redis.once("ready", resolve));
    redis.stream.destroy();
    await again;
    assert.equal(await redis.get(`${p}:kept`), "yes");
  },
});
redis.disconnect();
process.exit(failed === 0 ? 0 : 1);
