// BullMQ, unchanged, with the prefix that its manual gives for servers that place keys by hash tag.

import { Queue, QueueEvents, Worker } from "bullmq";
import { assert, run } from "./checks.mjs";

const connection = { host: process.argv[2], port: Number(process.argv[3]), maxRetriesPerRequest: null };
const options = { connection, prefix: "{bull}" };

async function until(condition, what) {
  for (let tries = 0; tries < 1000; tries += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what} does not come`);
}

const failed = await run("bullmq", {
  async jobsRunOnce(p) {
    const name = p.replaceAll(":", "-");
    const queue = new Queue(name, options);
    const done = [];
    const workers = [1, 2, 3].map(
      () => new Worker(name, async (job) => done.push(job.data.n), { ...options, concurrency: 5 }),
    );
    await queue.addBulk(Array.from({ length: 200 }, (_, n) => ({ name: "job", data: { n } })));
    await until(() => done.length >= 200, "the 200th job");
    assert.deepEqual(done.sort((a, b) => a - b), Array.from({ length: 200 }, (_, n) => n));
    await until(async () => (await queue.getJobCounts()).active === 0, "the end of all jobs");
    assert.equal((await queue.getJobCounts()).completed, 200);
    await Promise.all(workers.map((worker) => worker.close()));
    await queue.close();
  },
  async delaysRetriesAndEvents(p) {
    const name = p.replaceAll(":", "-");
    const queue = new Queue(name, options);
    const events = new QueueEvents(name, options);
    await events.waitUntilReady();
    let tries = 0;
    const worker = new Worker(
      name,
      async (job) => {
        tries += 1;
        if (tries < 3) throw new Error("again");
        return `${job.data.word}!`;
      },
      options,
    );
    const retried = await queue.add("job", { word: "done" }, { attempts: 3, delay: 50, backoff: 20 });
    assert.equal(await retried.waitUntilFinished(events), "done!");
    assert.equal(tries, 3);
    await worker.close();
    await events.close();
    await queue.obliterate({ force: true });
    await queue.close();
  },
});
process.exit(failed === 0 ? 0 : 1);
