//! OpenBao as a program of this machine.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::certificates;
use super::program::{self, Program};
use super::run::{self, Lifetime, Run};
use super::vault::{self, Vault};

/// An OpenBao that was started from the program on this machine: besides its plain port, which is that of the
/// [`Vault`] it dereferences to, it has one with TLS, and one where clients must show a certificate.
///
/// ```no_run
/// use kvstore_testsuite::servers::VaultServer;
///
/// let mut vault = VaultServer::start();
/// let url = vault.url("path=fruit");
/// // … connect a store to `url`, and write …
/// vault.stop();
/// vault.restart();
/// // … it was written to disk, so it is still there …
/// ```
#[derive(Debug)]
pub struct VaultServer {
    vault: Vault,
    tls_port: u16,
    mutual_tls_port: u16,
    folder: PathBuf,
    /// `None` for a shared server, which only its guard ends.
    own: Option<Own>,
}

/// What a test needs to end its own server and start it again.
struct Own {
    program: Program,
    line: Vec<OsString>,
    unseal_key: String,
}

impl std::fmt::Debug for Own {
    /// Prints no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// Where a server keeps its secrets.
#[derive(Clone, Copy)]
enum Storage {
    /// A write takes a fraction of what it takes on disk.
    Memory,
    Raft,
}

impl VaultServer {
    /// The server of this test run, for tests that leave it as it is for the others. It keeps its secrets in
    /// memory.
    ///
    /// # Panics
    /// When the program is not installed, with what to do, or does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<VaultServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let path = installed();
            Run::current().share("vault", Self::find, |lifetime| {
                let mut server = Self::launch(&path, lifetime, Storage::Memory);
                if let Some(own) = server.own.take() {
                    own.program.leave();
                }
                let note = format!(
                    "{}\n{}\n{}\n{}\n{}",
                    server.address().port(),
                    server.tls_port,
                    server.mutual_tls_port,
                    server.token(),
                    server.folder.display()
                );
                (server, note)
            })
        })
    }

    /// Starts a server of the test's own, which keeps its secrets on disk, and ends when the value is dropped.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn start() -> Self {
        Self::launch(
            &installed(),
            Lifetime::of_this_process("vault"),
            Storage::Raft,
        )
    }

    /// Ends the server at once, as a power cut would. What it acknowledged is on disk.
    pub fn stop(&mut self) {
        self.own().program.stop();
    }

    /// Starts the server again, with the same ports and files, and unseals it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let address = self.address();
        let own = self.own();
        let up = own
            .program
            .restart(&own.line, |program| listens(program, address));
        up.unwrap_or_else(|log| panic!("OpenBao did not start again; its log ends:\n{log}"));
        self.unseal();
    }

    /// Halts the server: it holds its connections and answers nothing.
    pub fn pause(&mut self) {
        self.own().program.signal("STOP");
    }

    /// Lets a halted server go on.
    pub fn resume(&mut self) {
        self.own().program.signal("CONT");
    }

    /// Seals the server: it answers, and refuses to serve.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn seal(&mut self) {
        self.request("PUT", "sys/seal", json!({}));
    }

    /// Unseals the server, and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn unseal(&mut self) {
        let key = self.own().unseal_key.clone();
        unseal(self.address(), &key);
    }

    /// The address of its port with TLS, whose certificate is for `localhost` and 127.0.0.1.
    pub fn tls_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.tls_port))
    }

    /// The address of its port with TLS where clients must show a certificate.
    pub fn mutual_tls_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.mutual_tls_port))
    }

    /// The certificate (PEM) of the authority that signed the server's and the client's.
    pub fn ca_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate (PEM) for a client.
    pub fn client_cert_path(&self) -> PathBuf {
        self.folder.join("client.pem")
    }

    /// The key (PEM) of the client's certificate.
    pub fn client_key_path(&self) -> PathBuf {
        self.folder.join("client.key")
    }

    fn own(&mut self) -> &mut Own {
        self.own
            .as_mut()
            .unwrap_or_else(|| unreachable!("a shared server is never lent mutably"))
    }

    fn launch(path: &Path, lifetime: Lifetime, storage: Storage) -> Self {
        let mut program = Program::new(lifetime);
        certificates::write(program.folder());
        let line = |folder: &Path, ports: [u16; 4]| {
            let file = folder.join("vault.hcl");
            let written = fs::write(&file, configuration(folder, ports, storage));
            written.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            vec![path.into(), "server".into(), "-config".into(), file.into()]
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ports = program.start(line, |program, [port, ..]| listens(program, local(port)));
        let [port, tls_port, mutual_tls_port, _] = ports;
        let (token, unseal_key) = initialize(local(port));
        unseal(local(port), &unseal_key);
        let vault = Vault::new(local(port), &token);
        vault.prepare();
        run::report(&format!("OpenBao from {}", path.display()));
        let line = line(program.folder(), ports);
        Self {
            vault,
            tls_port,
            mutual_tls_port,
            folder: program.folder().to_owned(),
            own: Some(Own {
                program,
                line,
                unseal_key,
            }),
        }
    }

    /// Finds the server that another process noted, if it is still there.
    fn find(note: &str) -> Option<Self> {
        let mut lines = note.lines();
        let mut port = || lines.next()?.parse().ok();
        let (port, tls_port, mutual_tls_port) = (port()?, port()?, port()?);
        let vault = Vault::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), lines.next()?);
        let health = vault::ask(vault.address(), "GET", "sys/health", "", &Value::Null);
        health.ok().filter(|(status, _)| *status == 200)?;
        Some(Self {
            vault,
            tls_port,
            mutual_tls_port,
            folder: lines.next()?.into(),
            own: None,
        })
    }
}

impl Deref for VaultServer {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        &self.vault
    }
}

/// Where the program is.
pub(super) fn program() -> Option<PathBuf> {
    program::find("bao")
}

fn installed() -> PathBuf {
    program().unwrap_or_else(|| {
        panic!("no `bao` in the tool folder or on the PATH: `cargo xtask servers` installs it")
    })
}

/// Whether a server is there, and is the one that this program is: on a port that somebody else was quicker
/// to take, another may answer, and this one says nothing of having started.
fn listens(program: &Program, address: SocketAddr) -> bool {
    let log = fs::read_to_string(program.folder().join("log")).unwrap_or_default();
    log.contains("server started!")
        && vault::ask(address, "GET", "sys/seal-status", "", &Value::Null).is_ok()
}

/// Makes its root token and the key that unseals it.
fn initialize(address: SocketAddr) -> (String, String) {
    let body = json!({ "secret_shares": 1, "secret_threshold": 1 });
    let answer = vault::ask(address, "PUT", "sys/init", "", &body);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match answer {
        Ok((200, keys)) => (text(&keys["root_token"]), text(&keys["keys"][0])),
        other => panic!("OpenBao was not initialized: {other:?}"),
    }
}

fn unseal(address: SocketAddr, key: &str) {
    vault::wait("serve once it is unsealed", || {
        let unsealed = vault::ask(address, "PUT", "sys/unseal", "", &json!({ "key": key }));
        let health = vault::ask(address, "GET", "sys/health", "", &Value::Null);
        unsealed.is_ok() && matches!(health, Ok((200, _)))
    });
}

/// The configuration file.
fn configuration(folder: &Path, ports: [u16; 4], storage: Storage) -> String {
    let [port, tls_port, mutual_tls_port, cluster_port] = ports;
    let file = |name: &str| folder.join(name).display().to_string();
    let listener = |port: u16, rest: &str| {
        format!(
            "listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{cluster_port}\"\n{rest}}}\n"
        )
    };
    let tls = format!(
        " tls_cert_file = {:?}\n tls_key_file = {:?}\n tls_client_ca_file = {:?}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let mutual = format!("{tls} tls_require_and_verify_client_cert = true\n");
    let storage = match storage {
        Storage::Memory => "storage \"inmem\" {\n}\n".to_owned(),
        Storage::Raft => {
            // It must be there.
            let data = folder.join("raft");
            fs::create_dir_all(&data).unwrap_or_else(|e| panic!("{}: {e}", data.display()));
            format!("storage \"raft\" {{\n path = {data:?}\n node_id = \"one\"\n}}\n")
        }
    };
    let listeners = [
        listener(port, " tls_disable = true\n"),
        listener(tls_port, &tls),
        listener(mutual_tls_port, &mutual),
    ];
    format!(
        "{storage}{}api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{cluster_port}\"\n",
        listeners.concat()
    )
}
