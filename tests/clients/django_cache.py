"""django-redis, unchanged, as the cache of a Django application. Prints "ok NAME" or "FAILED NAME: why"."""

import sys
import traceback

import django
from django.conf import settings

HOST, PORT = sys.argv[1], int(sys.argv[2])

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{HOST}:{PORT}/0",
            "KEY_PREFIX": "django",
        },
        # what belongs together lies together: a hash tag in the prefix
        "tagged": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{HOST}:{PORT}/1",
            "KEY_PREFIX": "{django}",
        },
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402 - after setup
from django.core.cache import caches  # noqa: E402


def equal(got, expected):
    assert got == expected, f"{got!r} instead of {expected!r}"


def values(cache):
    cache.set("a", {"nested": [1, 2, 3]}, timeout=100)
    equal(cache.get("a"), {"nested": [1, 2, 3]})
    equal(cache.get("none", "default"), "default")
    equal(cache.add("a", 1), False)
    equal(cache.has_key("a"), True)
    assert 0 < cache.ttl("a") <= 100
    equal(cache.touch("a", 200), True)
    equal(cache.delete("a"), True)


def counters(cache):
    cache.set("n", 1)
    equal(cache.incr("n", 41), 42)
    equal(cache.decr("n", 2), 40)


def many(cache):
    for number in range(100):
        cache.set(f"m{number}", number)
    names = [f"m{number}" for number in range(100)]
    equal(cache.get_many(names), {f"m{number}": number for number in range(100)})
    equal(cache.delete_many(names), 100)


def patterns(cache):
    # django-redis deletes them in a transaction, which needs all keys on one node
    for number in range(50):
        cache.set(f"page:{number}", number)
    equal(len(list(cache.iter_keys("page:*"))), 50)
    equal(cache.delete_pattern("page:*"), 50)


def locks(cache):
    with cache.lock("job", timeout=10):
        equal(cache.lock("job", timeout=10).acquire(blocking=False), False)


def sessions(_cache):
    session = SessionStore()
    session["user"] = 7
    session.save()
    equal(SessionStore(session.session_key)["user"], 7)
    session.delete()
    equal(SessionStore(session.session_key).get("user"), None)


def set_many(cache):
    # django-redis wraps this in a transaction, which needs all keys on one node
    cache.set_many({f"t{number}": number for number in range(20)})
    equal(len(cache.get_many([f"t{number}" for number in range(20)])), 20)


def main():
    failed = 0
    plain = [values, counters, many, locks, sessions]
    for alias, checks in (("default", plain), ("tagged", [*plain, patterns, set_many])):
        for check in checks:
            name = f"django-redis {alias} {check.__name__}"
            try:
                check(caches[alias])
                print(f"ok {name}")
            except Exception as error:  # noqa: BLE001 - every failure is told
                failed += 1
                print(f"FAILED {name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
                traceback.print_exc(file=sys.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
