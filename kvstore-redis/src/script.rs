//! Lua, for what no single command does.

use std::fmt::Write as _;
use std::sync::LazyLock;

use kvstore_core::Bytes;
use sha1::{Digest as _, Sha1};

use crate::client::Call;
use crate::command::{Command, Reply};
use crate::error::Failure;

/// A script, known to the server by its SHA-1.
pub(crate) struct Script {
    text: &'static str,
    writes: bool,
    sha1: LazyLock<Bytes>,
}

/// Value and remaining milliseconds (-1: it does not expire), or nil.
pub(crate) static GET_ENTRY: Script = Script {
    text: "local v=redis.call('GET',KEYS[1]) if not v then return false end return {v,redis.call('PTTL',KEYS[1])}",
    writes: false,
    sha1: LazyLock::new(|| sha1_hex(GET_ENTRY.text.as_bytes()).into()),
};

/// `SET` if the value's SHA-1 is ARGV[1]: 1, or 0. ARGV[2] is the new value, the rest are its options.
pub(crate) static SET_IF: Script = Script {
    text: "local v=redis.call('GET',KEYS[1]) if not v or redis.sha1hex(v)~=ARGV[1] then return 0 end \
           redis.call('SET',KEYS[1],unpack(ARGV,2)) return 1",
    writes: true,
    sha1: LazyLock::new(|| sha1_hex(SET_IF.text.as_bytes()).into()),
};

/// `DEL` if the value's SHA-1 is ARGV[1]: 1, or 0.
pub(crate) static DELETE_IF: Script = Script {
    text: "local v=redis.call('GET',KEYS[1]) if not v or redis.sha1hex(v)~=ARGV[1] then return 0 end \
           return redis.call('DEL',KEYS[1])",
    writes: true,
    sha1: LazyLock::new(|| sha1_hex(DELETE_IF.text.as_bytes()).into()),
};

/// `PERSIST` that tells a key without an expiry (1) from a missing one (0).
pub(crate) static PERSIST: Script = Script {
    text: "redis.call('PERSIST',KEYS[1]) return redis.call('EXISTS',KEYS[1])",
    writes: true,
    sha1: LazyLock::new(|| sha1_hex(PERSIST.text.as_bytes()).into()),
};

impl Script {
    /// Runs it on one key, sending its text only when the server does not know it.
    pub(crate) async fn run(
        &self,
        call: &Call<'_>,
        key: Bytes,
        args: &[Bytes],
    ) -> Result<Reply, Failure> {
        match call
            .send(self.command("EVALSHA", &self.sha1, &key, args))
            .await
        {
            Err(failure) if failure.code() == "NOSCRIPT" => {
                call.send(self.command(
                    "EVAL",
                    &Bytes::from_static(self.text.as_bytes()),
                    &key,
                    args,
                ))
                .await
            }
            answer => answer,
        }
    }

    pub(crate) fn command(
        &self,
        by: &'static str,
        script: &Bytes,
        key: &Bytes,
        args: &[Bytes],
    ) -> Command {
        let mut all = Vec::with_capacity(3 + args.len());
        all.extend([script.clone(), Bytes::from_static(b"1"), key.clone()]);
        all.extend_from_slice(args);
        Command::Script {
            by,
            writes: self.writes,
            args: all,
        }
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
