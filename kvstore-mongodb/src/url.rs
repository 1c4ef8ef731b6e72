//! MongoDB URLs. What is not understood is an error, and no error shows a value.

use kvstore_core::Result;
use kvstore_core::url::{Url, decode};

use crate::MongoDbConfig;
use crate::options::{invalid, show};

/// The schemes that [`parse`] understands.
pub(crate) const SCHEMES: &[&str] = &["mongodb", "mongodb+srv"];

pub(crate) fn parse(url: &str) -> Result<MongoDbConfig> {
    let url = Url::parse(url)?;
    let database = url.path().strip_prefix('/').unwrap_or_default();
    if database.contains('/') {
        return Err(invalid(
            "the URL has a `/` too many; in passwords and in the database it is written %2F",
        ));
    }
    let database = decode("the database", database)?;
    let hosts = url.hosts();
    let mut config = match url.scheme() {
        "mongodb" => MongoDbConfig::new(hosts, &*database),
        "mongodb+srv" => MongoDbConfig::srv(hosts, &*database),
        _ => return Err(url.is_none_of(SCHEMES)),
    };
    if let Some((user, password)) = url.login()? {
        config = config.credentials(user, password.unwrap_or_default());
    }
    let mut seen = Vec::new();
    for parameter in url.parameters()? {
        // As MongoDB has it, in any case of letters.
        let name = parameter.name().to_ascii_lowercase();
        if seen.contains(&name) {
            return Err(invalid(format!(
                "the URL has the parameter {} twice",
                show(&name)
            )));
        }
        match name.as_str() {
            "database" => config.database = parameter.value().to_owned(),
            "collection" => config.collection = parameter.value().to_owned(),
            "timeout" => config.timeout = parameter.duration()?,
            "max_value_len" => config.max_value_len = parameter.number()?,
            _ => config = config.option(&*name, parameter.value()),
        }
        seen.push(name);
    }
    // As MongoDB has it: who logs in is looked up in the database that the path names.
    let by_password = config
        .options
        .get("authmechanism")
        .is_none_or(|mechanism| mechanism.starts_with("SCRAM"));
    if config.credentials.is_some() && by_password && !database.is_empty() {
        config
            .options
            .entry("authsource".to_owned())
            .or_insert(database);
    }
    config.check()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvstore_core::ErrorKind;
    use proptest::prelude::*;
    use std::error::Error as _;
    use std::time::Duration;

    #[track_caller]
    fn parsed(url: &str) -> MongoDbConfig {
        parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn every_part_is_read() {
        let config = parsed(
            "mongodb://us%40er:p%2Fw%3A%C3%BC%25@a.example:7000,b.example/sh%C3%B6p?collection=a%26b+&timeout=1500ms\
             &max_value_len=99&replicaSet=rs0&W=2&AuthSource=x&retryWrites=false&tls=true&tlsCAFile=/tls/c%20a.pem",
        );
        let by_hand = MongoDbConfig::new("a.example:7000,b.example", "shöp")
            .credentials("us@er", "p/w:ü%")
            .collection("a&b+")
            .timeout(Duration::from_millis(1500))
            .max_value_len(99)
            .option("replicaSet", "rs0")
            .option("w", "2")
            .option("authSource", "x")
            .option("retryWrites", "false")
            .option("tls", "true")
            .option("tlsCAFile", "/tls/c a.pem");
        assert_eq!(config, by_hand);
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        for url in [
            "mongodb://h/d",
            "MongoDB://h/d",
            "mongodb://h/d?",
            "mongodb://h/?database=d",
            "mongodb://h/x?database=d",
            "mongodb://h?database=d",
        ] {
            assert_eq!(parsed(url), MongoDbConfig::new("h", "d"), "{url}");
        }
        let config = parsed("mongodb://h/d");
        assert_eq!(config.collection, "kvstore");
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert_eq!(config.max_value_len, 16_775_168);
    }

    /// As every driver of MongoDB has it.
    #[test]
    fn the_user_is_looked_up_in_the_database_of_the_path_unless_another_is_named() {
        let source = |url: &str| parsed(url).options.get("authsource").cloned();
        assert_eq!(source("mongodb://u:p@h/d").as_deref(), Some("d"));
        assert_eq!(
            source("mongodb://u:p@h/d?authSource=e").as_deref(),
            Some("e")
        );
        assert_eq!(source("mongodb://u:p@h/d?database=e").as_deref(), Some("d"));
        assert_eq!(
            source("mongodb://u:p@h/?database=e"),
            None,
            "the driver's `admin`"
        );
        assert_eq!(source("mongodb://h/d"), None);
        assert_eq!(
            source("mongodb://u@h/d?authMechanism=MONGODB-X509&tls=true"),
            None
        );
    }

    #[test]
    fn hosts_may_be_what_the_driver_takes() {
        for hosts in [
            "localhost",
            "127.0.0.1:1",
            "[::1]:7000",
            "[::1]",
            "a,b:2,c",
            "%2Ftmp%2Fm.sock",
            "ü.example",
        ] {
            assert_eq!(parsed(&format!("mongodb://{hosts}/d")).hosts, hosts);
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
        for (url, part) in [
            ("", "`://`"),
            ("secret", "`://`"),
            ("mongodb:secret", "`://`"),
            ("http://secret@h/d", "scheme"),
            ("mongodb://", "host"),
            ("mongodb:///secret", "host"),
            ("mongodb://h", "database"),
            ("mongodb://h/", "database"),
            ("mongodb://h/a.secret", "database"),
            ("mongodb://h/a%2Fsecret", "database"),
            ("mongodb://h/secret%ff", "database"),
            ("mongodb://h:secret/d", "hosts"),
            ("mongodb://h:0/d", "hosts"),
            ("mongodb://h,,secret/d", "hosts"),
            ("mongodb://[secret/d", "hosts"),
            ("mongodb://h/d/secret", "too many"),
            ("mongodb://u:sec/ret@h/d", "too many"),
            ("mongodb://u:sec@ret@h/d", "too many"),
            ("mongodb://u:sec:ret@h/d", "%3A"),
            ("mongodb://u:sec ret@h/d", "space"),
            ("mongodb://u:sec#ret@h/d", "%23"),
            ("mongodb://:secret@h/d", "user name"),
            ("mongodb://secret@h/d", "without a password"),
            ("mongodb://%ff:secret@h/d", "the user name"),
            ("mongodb://u:secret%ff@h/d", "the password"),
            ("mongodb://h/d?secret", "`secret`"),
            ("mongodb://h/d?Se%63ret=secret", "strange name"),
            ("mongodb://h/d?w=1&W=secret", "`w` twice"),
            ("mongodb://h/d?collection=secret%ff", "UTF-8"),
            ("mongodb://h/d?collection=", "collection"),
            ("mongodb://h/d?collection=system.secret", "collection"),
            ("mongodb://h/d?collection=a$secret", "collection"),
            ("mongodb://h/d?timeout=secret", "`timeout`"),
            ("mongodb://h/d?timeout=5", "`timeout`"),
            ("mongodb://h/d?timeout=0s", "`timeout`"),
            ("mongodb://h/d?timeout=99999999999999999999s", "`timeout`"),
            ("mongodb://h/d?timeout=9999999999999999999m", "`timeout`"),
            ("mongodb://h/d?max_value_len=secret", "`max_value_len`"),
            ("mongodb://h/d?max_value_len=16777216", "`max_value_len`"),
            ("mongodb://h/d?timeoutMS=5", "`timeout`"),
            ("mongodb://h/d?socketTimeoutMS=5", "`timeout`"),
            ("mongodb://h/d?waitQueueTimeoutMS=5", "`timeout`"),
            ("mongodb://h/d?compressors=zstd", "compression"),
            (
                "mongodb://h/d?uuidRepresentation=pythonLegacy",
                "`uuidRepresentation`",
            ),
            ("mongodb://h/d?readPreference=secondary", "`readPreference`"),
            (
                "mongodb://h/d?readPreferenceTags=secret:1",
                "`readPreferenceTags`",
            ),
            (
                "mongodb://h/d?readConcernLevel=snapshot",
                "`readConcernLevel`",
            ),
            ("mongodb://h/d?w=0", "`w`"),
            ("mongodb://h/d?w=-1", "`w`"),
            ("mongodb://h/d?w=", "`w`"),
            ("mongodb://h/d?journal=secret", "`journal`"),
            ("mongodb://h/d?wtimeoutMS=secret", "`wtimeoutMS`"),
            ("mongodb://h/d?maxPoolSize=secret", "`maxPoolSize`"),
            ("mongodb://h/d?maxPoolSize=0", "`maxPoolSize`"),
            ("mongodb://h/d?minPoolSize=-1", "`minPoolSize`"),
            ("mongodb://h/d?maxConnecting=0", "`maxConnecting`"),
            ("mongodb://h/d?retryWrites=secret", "`retryWrites`"),
            ("mongodb://h/d?retryReads=", "`retryReads`"),
            (
                "mongodb://h/d?heartbeatFrequencyMS=1",
                "`heartbeatFrequencyMS`",
            ),
            (
                "mongodb://h/d?serverMonitoringMode=secret",
                "`serverMonitoringMode`",
            ),
            (
                "mongodb://h/d?directConnection=secret",
                "`directConnection`",
            ),
            ("mongodb://a,b/d?directConnection=true", "together"),
            ("mongodb://h/d?authMechanism=MONGODB-AWS", "`authMechanism`"),
            ("mongodb://u:p@h/d?authMechanism=secret", "`authMechanism`"),
            ("mongodb://h/d?authMechanism=SCRAM-SHA-256", "together"),
            (
                "mongodb://h/d?authMechanismProperties=secret:1",
                "`authmechanismproperties`",
            ),
            ("mongodb://h/d?srvServiceName=x", "`srvServiceName`"),
            ("mongodb://h/d?tls=false&tlsCAFile=secret", "together"),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(part), "{url}: {error}");
            if part != "`secret`" {
                let source = error.source().map(ToString::to_string).unwrap_or_default();
                let shown = format!("{error} {error:?} {source}");
                assert!(!shown.contains("ecret"), "{url}: {shown}");
            }
        }
    }

    #[cfg(not(feature = "srv"))]
    #[test]
    fn srv_needs_its_feature() {
        let error = parse("mongodb+srv://cluster.example/d").unwrap_err();
        assert!(error.to_string().contains("feature `srv`"), "{error}");
    }

    #[cfg(feature = "srv")]
    #[test]
    fn srv_is_one_host_without_a_port() {
        let config = parsed("mongodb+srv://u:p@cluster.example.net/d?srvMaxHosts=2");
        let by_hand = MongoDbConfig::srv("cluster.example.net", "d").credentials("u", "p");
        assert_eq!(
            config,
            by_hand.option("authSource", "d").option("srvMaxHosts", "2")
        );
        for url in ["mongodb+srv://a.b.c:1/d", "mongodb+srv://a.b.c,d.e.f/d"] {
            assert!(
                parse(url).unwrap_err().to_string().contains("host"),
                "{url}"
            );
        }
    }

    #[test]
    fn debug_has_no_password() {
        let config = parsed("mongodb://user:hunter2@h/d");
        let debug = format!("{config:?} {config:#?}");
        assert!(
            debug.contains("user") && !debug.contains("hunter2"),
            "{debug}"
        );
    }

    proptest! {
        #[test]
        fn no_url_panics(url in ".*", rest in "[a-z%:@/?&=,\\[\\]é€0-9+.-]{0,40}") {
            let _ = parse(&url);
            let _ = parse(&format!("mongodb://{rest}"));
            let _ = parse(&format!("mongodb://u:{url}@h/d?{rest}"));
            let _ = parse(&format!("mongodb://h/d?{rest}={url}"));
        }

        #[test]
        fn credentials_reach_the_driver_as_they_are(user in ".+", password in ".+", source in "[a-z]+") {
            let config = MongoDbConfig::new("h", "d").credentials(&*user, &*password).option("authSource", &*source);
            prop_assert!(config.check().is_ok());
            let options = crate::options::client_options(&config);
            let options = futures_util::FutureExt::now_or_never(options).expect("no DNS is asked").unwrap();
            let credential = options.credential.unwrap();
            prop_assert_eq!(credential.username, Some(user));
            prop_assert_eq!(credential.password, Some(password));
            prop_assert_eq!(credential.source, Some(source));
        }
    }
}
