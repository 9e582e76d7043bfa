// node-redis through Ringway: the default handshake (CLIENT SETINFO, SETNAME) and everyday commands, RESP2 and RESP3; client-side
// caching.

import { BasicClientSideCache, createClient } from "redis";
import { assert, fails, run } from "./checks.mjs";

const [host, port] = [process.argv[2], Number(process.argv[3])];

// Values that the library keeps, and drops when a node says that they have changed.
async function caching() {
  const cache = new BasicClientSideCache({ maxEntries: 1000 });
  const redis = createClient({ socket: { host, port }, RESP: 3, clientSideCache: cache });
  const other = createClient({ socket: { host, port } });
  for (const client of [redis, other]) {
    client.on("error", () => {});
    await client.connect();
  }
  const failed = await run("node-redis caching", {
    async keepsAndForgets(p) {
      const keys = Array.from({ length: 60 }, (_, n) => `${p}:${n}`);
      for (const value of ["old", "new", "newest"]) {
        await Promise.all(keys.map((key) => other.set(key, value)));
        for (const key of keys) {
          while ((await redis.get(key)) !== value) {
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        }
        const before = cache.stats().hitCount;
        const values = await Promise.all(keys.map((key) => redis.get(key)));
        assert.deepEqual(values, keys.map(() => value));
        assert.equal(cache.stats().hitCount - before, keys.length, "no node is asked again");
      }
    },
  });
  redis.destroy();
  other.destroy();
  return failed;
}

async function suite(name, options) {
  const redis = createClient({ socket: { host, port }, name: "ringway-test", ...options });
  redis.on("error", () => {});
  await redis.connect();
  const failed = await run(name, {
    async strings(p) {
      assert.equal(await redis.ping(), "PONG");
      assert.equal(await redis.set(`${p}:s`, "value", { EX: 100 }), "OK");
      assert.equal(await redis.get(`${p}:s`), "value");
      assert.equal(await redis.get(`${p}:none`), null);
      assert.equal(await redis.incrBy(`${p}:n`, 41), 41);
      assert.equal(await redis.del(`${p}:s`), 1);
    },
    async manyKeys(p) {
      const keys = Array.from({ length: 100 }, (_, n) => `${p}:${n}`);
      assert.equal(await redis.mSet(keys.map((key, n) => [key, String(n)])), "OK");
      assert.deepEqual(await redis.mGet([...keys, `${p}:none`]), [...keys.map((_, n) => String(n)), null]);
      assert.equal(await redis.exists(keys), 100);
      assert.equal(await redis.unlink(keys), 100);
    },
    async hashesListsAndSets(p) {
      assert.equal(await redis.hSet(`${p}:h`, { a: 1, b: "zwei" }), 2);
      assert.deepEqual({ ...(await redis.hGetAll(`${p}:h`)) }, { a: "1", b: "zwei" });
      assert.equal(await redis.rPush(`${p}:l`, ["a", "b", "c"]), 3);
      assert.deepEqual(await redis.lRange(`${p}:l`, 0, -1), ["a", "b", "c"]);
      await redis.sAdd(`${p}:set`, ["x", "y"]);
      assert.deepEqual([...(await redis.sMembers(`${p}:set`))].sort(), ["x", "y"]);
    },
    async sortedSetsAndStreams(p) {
      await redis.zAdd(`${p}:z`, [{ score: 1, value: "a" }, { score: 2.5, value: "b" }]);
      const members = await redis.zRangeWithScores(`${p}:z`, 0, -1);
      assert.deepEqual(members.map(({ value, score }) => [value, score]), [["a", 1], ["b", 2.5]]);
      const id = await redis.xAdd(`${p}:x`, "*", { n: "1" });
      const entries = await redis.xRange(`${p}:x`, "-", "+");
      assert.equal(entries[0].id, id);
      assert.deepEqual({ ...entries[0].message }, { n: "1" });
    },
    async scripts(p) {
      const reply = await redis.eval("return {KEYS[1], ARGV[1], 7}", { keys: [`${p}:k`], arguments: ["v"] });
      assert.deepEqual(reply, [`${p}:k`, "v", 7]);
    },
    async pipelines(p) {
      const results = await Promise.all(
        Array.from({ length: 500 }, (_, n) => [
          redis.set(`${p}:${n}`, String(n)),
          redis.get(`${p}:${n}`),
          redis.mGet([`${p}:${n}`, `${p}:none`]),
        ]).flat(),
      );
      for (let n = 0; n < 500; n += 1) {
        assert.deepEqual(results.slice(3 * n, 3 * n + 3), ["OK", String(n), [String(n), null]]);
      }
      const batch = await redis.multi().set(`${p}:b`, "1").incr(`${p}:b`).execAsPipeline();
      assert.deepEqual(batch, ["OK", 2]);
    },
    async errors(p) {
      await redis.set(`${p}:text`, "x");
      await fails(redis.lPush(`${p}:text`, "1"), /WRONGTYPE/);
      await fails(redis.sendCommand(["NOSUCH"]), /unknown command/);
      await fails(redis.keys("*"), /KEYS/i);
      await fails(redis.sUnion(Array.from({ length: 20 }, (_, n) => `${p}:${n}`)), /CROSSSLOT/);
      assert.equal(await redis.get(`${p}:text`), "x");
    },
    async connection() {
      assert.equal(await redis.echo("hello"), "hello");
      assert.equal(await redis.clientGetName(), "ringway-test");
      assert.ok((await redis.clientId()) > 0);
    },
    async reconnect(p) {
      await redis.set(`${p}:kept`, "yes");
      const second = redis.duplicate();
      second.on("error", () => {});
      await second.connect();
      const again = new Promise((resolve) => second.once("ready", resolve));
      // the proxy closes the connection after QUIT, which the client has not asked for by its own name
      await second.sendCommand(["QUIT"]).catch(() => {});
      await again;
      assert.equal(await second.get(`${p}:kept`), "yes");
      second.destroy();
    },
  });
  redis.destroy();
  return failed;
}

let failed = await suite("node-redis defaults", {});
failed += await suite("node-redis RESP2", { RESP: 2 });
failed += await suite("node-redis RESP3", { RESP: 3 });
failed += await caching();
process.exit(failed === 0 ? 0 : 1);
