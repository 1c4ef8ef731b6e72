//! Valkey for tests: it is asked as Redis is.

use std::env;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::OnceLock;

use super::program::{self, Program};
use super::redis::Redis;
use super::run::Run;

/// The variable that names a Valkey to test against.
const VARIABLE: &str = "KVSTORE_TEST_VALKEY_URL";

impl Redis {
    /// The Valkey of this test run, without TLS, for tests that leave it as it is for the others.
    ///
    /// It is the one at `KVSTORE_TEST_VALKEY_URL`; else the program `valkey-server` where it is installed; else,
    /// with the feature `containers`, a container. It is up until the run ends. Blocks for the moment that takes.
    ///
    /// # Panics
    /// When there is none of these, with what to do.
    pub fn valkey() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| {
            if let Ok(url) = env::var(VARIABLE) {
                let valkey = Self::at(&url).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
                valkey.report(&format!("at {}, from {VARIABLE}", valkey.address()));
                return valkey;
            }
            if let Some(path) = program::find("valkey-server") {
                return Run::current().share("valkey", find, |lifetime| {
                    let mut program = Program::new(lifetime);
                    let [port] = program.start(
                        |folder, ports| command(&path, folder, ports),
                        |program, [port]| {
                            let id = started(port).info("process_id");
                            id.is_some() && id == program.process()
                        },
                    );
                    program.leave();
                    let valkey = started(port);
                    valkey.report(&format!("from {}", path.display()));
                    (valkey, port.to_string())
                });
            }
            #[cfg(feature = "containers")]
            if let Some(address) = super::container::valkey(&Run::current()) {
                let valkey = Self::new(address);
                valkey.report("in a container");
                return valkey;
            }
            panic!(
                "no Valkey to test against: `cargo xtask servers` installs one; or name one in {VARIABLE}; \
                 or start Docker and switch on the feature `containers` of kvstore-testsuite"
            );
        })
    }
}

/// Finds the server that another process noted, if it is still there.
fn find(note: &str) -> Option<Redis> {
    let valkey = started(note.trim().parse().ok()?);
    valkey.info("process_id").map(|_| valkey)
}

fn started(port: u16) -> Redis {
    Redis::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// The command line of a server that keeps nothing on disk.
fn command(path: &Path, folder: &Path, [port]: [u16; 1]) -> Vec<OsString> {
    let mut line = vec![path.as_os_str().to_owned(), "--dir".into(), folder.into()];
    let port = port.to_string();
    let options = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--save",
        "",
        "--set-proc-title",
        "no",
    ];
    line.extend(options.map(OsString::from));
    line
}
