// Runs named checks, prints "ok NAME" or "FAILED NAME: why" for each, and ends the process with the right status.

import assert from "node:assert/strict";

export { assert };

export async function run(suite, checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("no end within 30 s")), 30_000);
    });
    try {
      await Promise.race([check(`${suite}:${name}`.replaceAll(" ", "-")), late]);
      console.log(`ok ${suite} ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${suite} ${name}: ${error.message.split("\n")[0]}`);
      console.log(error.stack);
    } finally {
      clearTimeout(timer);
    }
  }
  return failed;
}

export async function fails(promise, pattern) {
  await assert.rejects(promise, (error) => {
    assert.match(String(error.message), pattern);
    return true;
  });
}
