// What Node.js applications build on Redis, unchanged: a queue, sessions, rate limits, and rooms of socket.io.

import BeeQueue from "bee-queue";
import { RedisStore } from "connect-redis";
import { Redis } from "ioredis";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { createClient } from "redis";
import { createAdapter } from "@socket.io/redis-adapter";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { assert, run } from "./checks.mjs";

const [host, port] = [process.argv[2], Number(process.argv[3])];
const url = `redis://${host}:${port}`;

async function client() {
  const made = createClient({ url });
  await made.connect();
  return made;
}

// clients of node-redis that still wait for something say so when they are destroyed
process.on("unhandledRejection", (error) => {
  if (!/Disconnects client/.test(error.message)) throw error;
});

const failed = await run("apps", {
  async beeQueue() {
    // its keys are used together in scripts: a hash tag in the prefix
    const queue = new BeeQueue("add", { redis: { host, port }, prefix: "{bq}", activateDelayedJobs: true });
    let succeeded = 0;
    const all = new Promise((resolve) => {
      queue.on("job succeeded", () => (succeeded += 1) === 21 && resolve());
    });
    queue.process(3, async (job) => job.data.n + 1);
    for (let n = 0; n < 20; n += 1) await queue.createJob({ n }).save();
    await queue.createJob({ n: 1 }).delayUntil(Date.now() + 200).save();
    await all;
    const health = await queue.checkHealth();
    assert.deepEqual([health.succeeded, health.failed, health.waiting], [21, 0, 0]);
    await queue.close(1000);
  },
  async sessions(p) {
    const redis = await client();
    const store = new RedisStore({ client: redis, prefix: `${p}:` });
    for (let n = 0; n < 50; n += 1) await store.set(`s${n}`, { cookie: {}, n });
    assert.equal((await store.get("s7")).n, 7);
    assert.equal(await store.length(), 50);
    assert.equal((await store.all()).length, 50);
    await store.destroy("s7");
    await store.clear();
    assert.equal(await store.length(), 0);
    redis.destroy();
  },
  async rateLimits(p) {
    const redis = new Redis({ host, port });
    const limiter = new RateLimiterRedis({ storeClient: redis, points: 3, duration: 60, keyPrefix: p });
    for (let user = 0; user < 10; user += 1) {
      for (const left of [2, 1, 0]) assert.equal((await limiter.consume(user)).remainingPoints, left);
      await assert.rejects(limiter.consume(user), (answer) => answer.msBeforeNext > 0);
    }
    redis.disconnect();
  },
  async rooms() {
    const servers = [];
    for (let n = 0; n < 2; n += 1) {
      const clients = [await client(), await client()];
      clients.forEach((one) => one.on("error", () => {}));
      const server = new Server(0, { adapter: createAdapter(...clients) });
      servers.push({ server, clients, user: io(`http://localhost:${server.httpServer.address().port}`) });
    }
    await Promise.all(servers.map(({ user }) => new Promise((resolve) => user.on("connect", resolve))));
    const heard = Promise.all(servers.map(({ user }) => new Promise((resolve) => user.on("news", resolve))));
    servers[0].server.emit("news", 7);
    assert.deepEqual(await heard, [7, 7]);
    assert.equal((await servers[0].server.fetchSockets()).length, 2);
    assert.equal(await servers[0].server.of("/").adapter.serverCount(), 2);
    for (const { server, clients, user } of servers) {
      user.close();
      await server.close();
      clients.forEach((one) => one.destroy());
    }
  },
});
process.exit(failed === 0 ? 0 : 1);
