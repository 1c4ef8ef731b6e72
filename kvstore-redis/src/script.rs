//! Lua, for what no single command does.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sha1::{Digest as _, Sha1};

/// A script on one key, known to the server by its SHA-1.
pub(crate) struct Script {
    pub(crate) text: &'static str,
    pub(crate) writes: bool,
    sha1: LazyLock<String>,
}

/// Value and remaining milliseconds (-1: it does not expire), or nil.
pub(crate) static GET_ENTRY: Script = Script {
    text: "local v=redis.call('GET',KEYS[1]) if not v then return false end return {v,redis.call('PTTL',KEYS[1])}",
    writes: false,
    sha1: LazyLock::new(|| sha1_hex(GET_ENTRY.text.as_bytes())),
};

/// `SET` if the value's SHA-1 is ARGV[1]: 1, or 0. ARGV[2] is the new value, the rest are its options.
pub(crate) static SET_IF: Script = Script {
    text: "local v=redis.call('GET',KEYS[1]) if not v or redis.sha1hex(v)~=ARGV[1] then return 0 end \
           redis.call('SET',KEYS[1],unpack(ARGV,2)) return 1",
    writes: true,
    sha1: LazyLock::new(|| sha1_hex(SET_IF.text.as_bytes())),
};

/// `DEL` if the value's SHA-1 is ARGV[1]: 1, or 0.
pub(crate) static DELETE_IF: Script = Script {
    text: "local v=redis.call('GET',KEYS[1]) if not v or redis.sha1hex(v)~=ARGV[1] then return 0 end \
           return redis.call('DEL',KEYS[1])",
    writes: true,
    sha1: LazyLock::new(|| sha1_hex(DELETE_IF.text.as_bytes())),
};

/// `PERSIST` that tells a key without an expiry (1) from a missing one (0).
pub(crate) static PERSIST: Script = Script {
    text: "redis.call('PERSIST',KEYS[1]) return redis.call('EXISTS',KEYS[1])",
    writes: true,
    sha1: LazyLock::new(|| sha1_hex(PERSIST.text.as_bytes())),
};

/// Nothing, on a key: to see whether scripts may be run.
pub(crate) static CHECK: Script = Script {
    text: "return 0",
    writes: false,
    sha1: LazyLock::new(|| sha1_hex(CHECK.text.as_bytes())),
};

impl Script {
    pub(crate) fn sha1(&self) -> &str {
        &self.sha1
    }
}

/// What Lua's `redis.sha1hex` gives.
pub(crate) fn sha1_hex(data: &[u8]) -> String {
    let mut hex = String::with_capacity(40);
    for byte in Sha1::digest(data) {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
