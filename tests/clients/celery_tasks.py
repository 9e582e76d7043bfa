"""Celery, unchanged, with its broker and its results behind Ringway. Prints "ok NAME" or "FAILED NAME: why"."""

import os
import subprocess
import sys
import tempfile
import traceback

os.environ["RINGWAY_ADDRESS"] = ":".join(sys.argv[1:3])
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from celery import chain, chord, group  # noqa: E402 - after the address is known
from celery_app import add, app, third_time, total  # noqa: E402

PATIENCE = 30


def equal(got, expected):
    assert got == expected, f"{got!r} instead of {expected!r}"


def tasks():
    results = [add.delay(n, n) for n in range(100)]
    equal([result.get(timeout=PATIENCE) for result in results], [2 * n for n in range(100)])


def groups_and_chains():
    equal(group(add.s(n, n) for n in range(20))().get(timeout=PATIENCE), [2 * n for n in range(20)])
    equal(chain(add.s(1, 1), add.s(5))().get(timeout=PATIENCE), 7)


def chords():
    for _ in range(5):
        equal(chord((add.s(n, n) for n in range(20)), total.s())().get(timeout=PATIENCE), 380)


def retries_and_delays():
    equal(third_time.delay().get(timeout=PATIENCE), "done")
    equal(add.apply_async((1, 1), countdown=1).get(timeout=PATIENCE), 2)


def priorities():
    results = [add.apply_async((n, 1), priority=n) for n in range(10)]
    equal([result.get(timeout=PATIENCE) for result in results], list(range(1, 11)))


def remote_control():
    equal(list((app.control.inspect(timeout=5).ping() or {}).values()), [{"ok": "pong"}])


def main():
    failed = 0
    environment = {**os.environ, "PYTHONPATH": sys.path[0]}
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-c", "4", "-P", "threads", "-l", "WARNING"]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as worker:
        for check in (tasks, groups_and_chains, chords, retries_and_delays, priorities, remote_control):
            try:
                check()
                print(f"ok celery {check.__name__}", flush=True)
            except Exception as error:  # noqa: BLE001 - every failure is told
                failed += 1
                print(f"FAILED celery {check.__name__}: {type(error).__name__} {error}", flush=True)
                traceback.print_exc(file=sys.stdout)
        worker.terminate()
        worker.wait()
        if failed:
            log.seek(0)
            print(log.read())
    return 1 if failed else 0


sys.exit(main())
