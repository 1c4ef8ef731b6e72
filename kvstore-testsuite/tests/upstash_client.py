"""Uses Upstash's front by Upstash's own client, and prints what came of it as JSON.

Arguments: the URL, the token, and the encoding of answers (`base64`, or `none`).
"""

import asyncio
import faulthandler
import json
import sys

from upstash_redis import Redis
from upstash_redis.asyncio import Redis as AsyncRedis
from upstash_redis.errors import UpstashError

# The client waits for ever.
faulthandler.dump_traceback_later(60, exit=True)

url, token, encoding = sys.argv[1:]
encoding = None if encoding == "none" else encoding
options = {"rest_encoding": encoding, "rest_retries": 0}
redis = Redis(url, token, **options)
seen = {}


def failure(call):
    try:
        return f"no failure: {call()!r}"
    except Exception as e:
        return [type(e).__name__, str(e) if isinstance(e, UpstashError) else ""]


def lives(key):
    return 0 < redis.pttl(key) <= 60_000


# Values.
seen["ping"] = redis.ping()
seen["get of nothing"] = redis.get("none")
seen["set"] = redis.set("k", "v")
seen["get"] = redis.get("k")
seen["type"] = redis.type("k")
seen["exists"] = redis.exists("k", "k", "none")
seen["delete"] = redis.delete("k", "none")
seen["get of what is gone"] = redis.get("k")
seen["empty"] = [redis.set("empty", ""), redis.get("empty"), redis.exists("empty")]
seen["the value OK"] = [redis.set("k", "OK"), redis.get("k")]
text = "é 🦀 \u0000 \u2028 \" \\ \r\n"
seen["unicode"] = [redis.set(text, text), redis.get(text) == text, redis.delete(text)]
seen["numbers"] = [redis.set("n", 2**63 - 1), redis.get("n"), redis.set("n", 1.5), redis.get("n")]
seen["model"] = [redis.set("m", {"a": [1, None, "x"]}), json.loads(redis.get("m"))]
seen["getdel"] = [redis.set("k", "v"), redis.getdel("k"), redis.getdel("k")]
seen["mset"] = redis.mset({"a": "1", "b": "2"})
seen["mget"] = redis.mget("a", "none", "b", "a")

# Expiry.
seen["pttl"] = [redis.pttl("none"), redis.pttl("a")]
seen["pexpire"] = [redis.pexpire("a", 60_000), lives("a"), redis.pexpire("none", 60_000)]
seen["persist"] = [redis.persist("a"), redis.persist("a"), redis.pttl("a")]
seen["px"] = [redis.set("a", "1", px=60_000), lives("a")]
seen["keepttl"] = [redis.set("a", "2", keepttl=True), lives("a"), redis.get("a")]
seen["without"] = [redis.set("a", "3"), redis.pttl("a")]

# Conditions.
seen["nx"] = [redis.set("c", "1", nx=True), redis.set("c", "2", nx=True), redis.get("c")]
seen["xx"] = [redis.set("c", "3", xx=True), redis.set("d", "1", xx=True), redis.get("d")]
seen["get and set"] = redis.set("c", "4", get=True)

# Scripts.
script = "return {KEYS[1], ARGV[1], 7, false, {redis.call('GET', KEYS[1])}}"
seen["eval"] = redis.eval(script, keys=["c"], args=["x"])
unknown = "0" * 40
seen["evalsha of nothing"] = failure(lambda: redis.evalsha(unknown))
sha = redis.script_load(script)
seen["script"] = [sha, redis.script_exists(sha, unknown)]
seen["evalsha"] = redis.evalsha(sha, keys=["c"], args=["y"])

# Listings.
redis.mset({f"scan:{i}": str(i) for i in range(25)})
redis.lpush("scan:list", "x")


def scan(**options):
    found, cursor = set(), 0
    while True:
        cursor, keys = redis.scan(cursor, **options)
        found.update(keys)
        if cursor in (0, "0"):
            return sorted(found)


seen["scan"] = len(scan(match="scan:*", count=10))
seen["scan of a type"] = scan(match="scan:*", count=10, type="list")
seen["scan of few"] = scan(match="scan:2[01]", count=5, type="string")

# Several at once.
several = redis.pipeline()
several.set("p", "1").get("p").incr("p").mget("p", "none")
seen["pipeline"] = several.exec()
several = redis.multi()
several.set("p", "5").incr("p").get("p")
seen["multi"] = several.exec()
several = redis.pipeline().set("p", "x").incr("p").set("p", "y")
seen["pipeline with an error"] = [failure(several.exec), redis.get("p")]
several = redis.multi().set("p", "z").execute(["OBJECT", "ENCODING", "p"])
seen["multi discarded"] = [failure(several.exec)[0], redis.get("p")]

# Errors.
seen["wrong type"] = failure(lambda: redis.lpush("c", "x"))
seen["wrong number"] = failure(lambda: redis.execute(["GET"]))
seen["not available"] = failure(lambda: redis.execute(["OBJECT", "ENCODING", "c"]))
seen["not in REST"] = failure(lambda: redis.execute(["SELECT", 0]))
seen["wrong token"] = failure(lambda: Redis(url, "wrong", **options).get("c"))


# What the test has put under it is no UTF-8.
def binary():
    value = redis.get("binary")
    return value.encode("unicode_escape").decode()


seen["binary"] = failure(binary) if encoding else binary()


async def later():
    async with AsyncRedis(url, token, **options) as redis:
        return [await redis.set("later", "v"), await redis.get("later")]


seen["async"] = asyncio.run(later())

seen["sync token"] = redis._sync_token
redis.get("c")
seen["next sync token is another"] = redis._sync_token not in ("", seen["sync token"])

print(json.dumps(seen))
