//! The options that MongoDB's URLs have: which are known, which are the driver's, and which are ours, since
//! the driver applies its read and write concerns to no command of ours.

use std::time::Duration;

use futures_util::FutureExt as _;
use kvstore_core::{Error, ErrorKind, Result};
use mongodb::bson::RawDocumentBuf;
use mongodb::options::{ClientOptions, ConnectionString, DriverInfo};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::MongoDbConfig;
use crate::raw::Writer;

/// What the driver takes by itself.
const DRIVERS: &[&str] = &[
    "appName",
    "authMechanism",
    "authSource",
    "connectTimeoutMS",
    "directConnection",
    "heartbeatFrequencyMS",
    "loadBalanced",
    "localThresholdMS",
    "maxConnecting",
    "maxIdleTimeMS",
    "maxPoolSize",
    "minPoolSize",
    "replicaSet",
    "retryReads",
    "retryWrites",
    "serverMonitoringMode",
    "serverSelectionTimeoutMS",
    "srvMaxHosts",
    "srvServiceName",
    "ssl",
    "tls",
    "tlsAllowInvalidCertificates",
    "tlsCAFile",
    "tlsCertificateKeyFile",
    "tlsInsecure",
];

/// What this crate puts into its commands.
const OURS: &[&str] = &[
    "journal",
    "readConcernLevel",
    "readPreference",
    "w",
    "wtimeoutMS",
];

/// What MongoDB's URLs may have, and would do nothing here.
const REFUSED: &[(&str, &str)] = &[
    ("compressors", "compression is not built in; leave it out"),
    (
        "zlibCompressionLevel",
        "compression is not built in; leave it out",
    ),
    (
        "maxStalenessSeconds",
        "all reads are from the primary; leave it out",
    ),
    (
        "readPreferenceTags",
        "all reads are from the primary; leave it out",
    ),
    (
        "socketTimeoutMS",
        "the deadline of a call is `timeout`, as `timeout=5s`",
    ),
    (
        "timeoutMS",
        "the deadline of a call is `timeout`, as `timeout=5s`",
    ),
    (
        "waitQueueTimeoutMS",
        "the deadline of a call is `timeout`, as `timeout=5s`",
    ),
    (
        "uuidRepresentation",
        "UUIDs are read in the standard representation; leave it out",
    ),
];

/// By the client's certificate, without a password.
const X509: &str = "MONGODB-X509";

const MECHANISMS: &[&str] = &["SCRAM-SHA-1", "SCRAM-SHA-256", X509, "PLAIN"];

/// How many connections there are to a server at most, unless `maxPoolSize` says so; the driver's 10 are few
/// for calls that wait for a majority.
const MAX_POOL_SIZE: u32 = 100;

/// What the commands carry.
pub(crate) struct Concerns {
    pub(crate) write: RawDocumentBuf,
    pub(crate) read: Option<RawDocumentBuf>,
    /// Writes are acknowledged by a majority.
    pub(crate) majority: bool,
    /// Writes are acknowledged when they are in the journal, also on a standalone server.
    pub(crate) journal: bool,
}

/// The name as MongoDB's documentation has it, unless it may be a piece of something else.
pub(crate) fn show(name: &str) -> String {
    let known = DRIVERS
        .iter()
        .chain(OURS)
        .find(|known| known.eq_ignore_ascii_case(name));
    match known {
        Some(known) => format!("`{known}`"),
        None if name.len() <= 30
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b'_') =>
        {
            format!("`{name}`")
        }
        None => "with a strange name".to_owned(),
    }
}

pub(crate) fn check(config: &MongoDbConfig) -> Result<()> {
    let odd = |c: char| "/?#@".contains(c) || c.is_whitespace() || c.is_control();
    let scheme = scheme(config);
    if config.hosts.contains(odd)
        || !driver_takes(config.srv, &format!("{scheme}://{}/", config.hosts))
    {
        let message = match config.srv {
            true => "the host is not one host name without a port, as `mongodb+srv` wants it",
            false => "the hosts are not `host` or `host:port`, separated by commas",
        };
        return Err(invalid(message));
    }
    for (name, value) in &config.options {
        check_option(config, name, value)?;
    }
    if let Some((user, password)) = &config.credentials {
        let by_certificate = config
            .options
            .get("authmechanism")
            .is_some_and(|mechanism| mechanism == X509);
        if user.is_empty() {
            return Err(invalid("there is a password without a user name"));
        }
        if password.is_empty() && !by_certificate {
            return Err(invalid("there is a user name without a password"));
        }
    }
    let together = || {
        invalid(
            "the parts do not go together: look at the number of hosts, the credentials and `authMechanism`, and \
             what is said of TLS, `replicaSet`, `directConnection` and `loadBalanced`",
        )
    };
    if !driver_takes(config.srv, &driver_url(config)) {
        return Err(together());
    }
    concerns(config).map(drop)
}

fn driver_takes(srv: bool, url: &str) -> bool {
    let Ok(parsed) = ConnectionString::parse(url) else {
        return false;
    };
    // The rest of its checks comes after the DNS was asked, where it is; else it is done at once.
    let checked = || ClientOptions::parse(parsed).into_future().now_or_never();
    srv || checked().is_some_and(|options| options.is_ok())
}

fn check_option(config: &MongoDbConfig, name: &str, value: &str) -> Result<()> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    if let Some((name, advice)) = REFUSED.iter().find(|(known, _)| is(known)) {
        return Err(invalid(format!("`{name}` is not used: {advice}")));
    }
    if OURS.iter().any(is) {
        return Ok(());
    }
    if !DRIVERS.iter().any(is) {
        let known = [DRIVERS, OURS].concat().join(", ");
        let name = show(name);
        return Err(invalid(format!(
            "there is the option {name}, which is none of {known}"
        )));
    }
    if name == "authmechanism" {
        if MECHANISMS.contains(&value) {
            return Ok(());
        }
        return Err(invalid(format!(
            "`authMechanism` is none of {}",
            MECHANISMS.join(", ")
        )));
    }
    let host = if config.srv { "a.b.c" } else { "a" };
    let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
    let alone = format!("{}://{host}/?{name}={value}", scheme(config));
    if value.to_string().is_empty() || !driver_takes(config.srv, &alone) {
        return Err(invalid(format!(
            "{} has a value that it cannot have",
            show(name)
        )));
    }
    Ok(())
}

/// The read and write concern.
pub(crate) fn concerns(config: &MongoDbConfig) -> Result<Concerns> {
    let option = |name: &str| config.options.get(name).map(String::as_str);
    let mut write = Writer::new(64);
    let majority = match option("w").unwrap_or("majority") {
        "majority" => {
            write.string("w", "majority");
            true
        }
        nodes
            if !nodes.is_empty()
                && nodes
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-') =>
        {
            match nodes.parse() {
                Ok(nodes) if (1..=50).contains(&nodes) => write.int32("w", nodes),
                _ => {
                    return Err(invalid(
                        "`w` is not `majority`, a number of servers from 1 to 50, or a tag",
                    ));
                }
            }
            false
        }
        "" => return Err(invalid("`w` is empty; leave it out for `majority`")),
        tag => {
            write.string("w", tag);
            false
        }
    };
    let journal = match option("journal") {
        None => false,
        Some("true") => true,
        // What a majority holds is in its journals anyway, and without is a choice for `w=1`.
        Some("false") => {
            write.bool("j", false);
            false
        }
        Some(_) => return Err(invalid("`journal` is neither `true` nor `false`")),
    };
    if journal {
        write.bool("j", true);
    }
    let wtimeout = match option("wtimeoutms").map(str::parse::<i32>) {
        None => millis(config.timeout),
        Some(Ok(wtimeout)) if wtimeout >= 0 => wtimeout,
        Some(_) => return Err(invalid("`wtimeoutMS` is not a number of milliseconds")),
    };
    write.int32("wtimeout", wtimeout);
    let read = match option("readconcernlevel") {
        None => None,
        Some(level @ ("local" | "available" | "majority" | "linearizable")) => {
            let mut read = Writer::new(32);
            read.string("level", level);
            Some(read.finish())
        }
        Some(_) => {
            let message = "`readConcernLevel` is none of local, available, majority, linearizable";
            return Err(invalid(message));
        }
    };
    if option("readpreference")
        .is_some_and(|preference| !preference.eq_ignore_ascii_case("primary"))
    {
        return Err(invalid(
            "`readPreference` is not `primary`: only there each read sees what was written before",
        ));
    }
    Ok(Concerns {
        write: write.finish(),
        read,
        majority,
        journal,
    })
}

/// What the driver is made from: sensible where the configuration says nothing. Asks the DNS for
/// `mongodb+srv`.
pub(crate) async fn client_options(
    config: &MongoDbConfig,
) -> Result<ClientOptions, mongodb::error::Error> {
    let mut options = ClientOptions::parse(driver_url(config)).await?;
    // Shorter than a call's deadline: then it is known that nothing was sent.
    let most = config.timeout * 4 / 5;
    options.server_selection_timeout.get_or_insert(most);
    options.connect_timeout.get_or_insert(most);
    options.heartbeat_freq.get_or_insert(Duration::from_secs(5));
    options.max_pool_size.get_or_insert(MAX_POOL_SIZE);
    options.max_connecting.get_or_insert(8);
    // Balancers and firewalls forget idle connections after some four minutes.
    options
        .max_idle_time
        .get_or_insert(Duration::from_secs(180));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    options.driver_info = Some(
        DriverInfo::builder()
            .name("kvstore")
            .version(version)
            .build(),
    );
    Ok(options)
}

/// How many calls may be with the driver at once: each has a connection then, and none waits where its
/// deadline is not seen.
pub(crate) fn max_pool_size(config: &MongoDbConfig) -> u32 {
    let set = config
        .options
        .get("maxpoolsize")
        .and_then(|size| size.parse().ok());
    set.unwrap_or(MAX_POOL_SIZE)
}

/// A configuration for the driver, in the only form that it reads; everything is encoded.
fn driver_url(config: &MongoDbConfig) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut url = format!("{}://", scheme(config));
    if let Some((user, password)) = &config.credentials {
        // X.509 has its user in the certificate, and no password.
        let colon = if password.is_empty() { "" } else { ":" };
        url += &format!("{}{colon}{}@", encode(user), encode(password));
    }
    url += &config.hosts;
    let is_driver = |name: &str| DRIVERS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut separator = "/?";
    for (name, value) in config.options.iter().filter(|(name, _)| is_driver(name)) {
        url += &format!("{separator}{name}={}", encode(value));
        separator = "&";
    }
    url
}

fn scheme(config: &MongoDbConfig) -> &'static str {
    if config.srv { "mongodb+srv" } else { "mongodb" }
}

/// Whether connections speak TLS, and whether they check certificates.
pub(crate) fn tls(config: &MongoDbConfig) -> (bool, bool) {
    let is_true = |name: &str| {
        config
            .options
            .get(name)
            .is_some_and(|value| value == "true")
    };
    let said = ["tls", "ssl"]
        .iter()
        .find_map(|&name| config.options.get(name));
    let implied = config.srv
        || config
            .options
            .keys()
            .any(|name| name.starts_with("tls") && name != "tls");
    let on = said.map_or(implied, |said| said == "true");
    (
        on,
        !is_true("tlsinsecure") && !is_true("tlsallowinvalidcertificates"),
    )
}

pub(crate) fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
