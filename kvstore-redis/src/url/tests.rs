use super::*;
use std::error::Error as _;
use std::time::Duration;

#[track_caller]
fn parsed(url: &str) -> RedisConfig {
    parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn tcp_at(host: &str, port: u16) -> Servers {
    Servers::One(Address::Tcp(host.to_owned(), port))
}

#[test]
fn every_part_is_read() {
    let config = parsed(
        "rediss://us%40er:p%2Fw%3A%C3%BC%25@cache.example:7000/3?prefix=a%26b%20+%3A&timeout=1500ms\
         &connect_timeout=2m&max_pending=7&max_value_len=99&ca=/tls/ca.pem&client_cert=/c.pem&client_key=/k%20.pem",
    );
    assert_eq!(config.servers, tcp_at("cache.example", 7000));
    assert_eq!(config.username.as_deref(), Some("us@er"));
    assert_eq!(config.password.as_deref(), Some("p/w:ü%"));
    assert_eq!(config.database, 3);
    assert!(config.tls);
    assert_eq!(config.prefix, "a&b +:", "a plus sign is a plus sign");
    assert_eq!(config.timeout, Duration::from_millis(1500));
    assert_eq!(config.connect_timeout, Duration::from_secs(120));
    assert_eq!((config.max_pending, config.value_limit()), (7, 99));
    assert_eq!(config.ca, Some("/tls/ca.pem".into()));
    assert_eq!(config.client_cert, Some("/c.pem".into()));
    assert_eq!(config.client_key, Some("/k .pem".into()));
}

#[test]
fn what_is_not_said_has_a_default() {
    for url in ["redis://h", "redis://h/", "valkey://h", "redis://h?"] {
        assert_eq!(parsed(url), RedisConfig::new("h"));
    }
    assert_eq!(parsed("valkeys://h"), RedisConfig::new("h").tls());
    let config = parsed("redis://:pw@127.0.0.1");
    assert_eq!(
        (config.username.as_deref(), config.password.as_deref()),
        (None, Some("pw"))
    );
    assert_eq!(config.servers, tcp_at("127.0.0.1", 6379));
    assert_eq!(
        (config.database, config.timeout),
        (0, Duration::from_secs(5))
    );
    assert_eq!(
        (config.max_pending, config.value_limit()),
        (10_000, 512 << 20)
    );
}

#[test]
fn ipv6_hosts_lose_their_brackets() {
    let config = parsed("redis://[::1]:7000/0");
    assert_eq!(config.servers, tcp_at("::1", 7000));
    assert_eq!(config.servers.to_string(), "[::1]:7000");
}

#[test]
fn unix_sockets() {
    let config = parsed("redis+unix:///run/redis/a%20b.sock?db=2&prefix=x:");
    assert_eq!(
        config.servers,
        RedisConfig::unix("/run/redis/a b.sock").servers
    );
    assert_eq!((config.database, config.prefix.as_str()), (2, "x:"));
    let config = parsed("valkey+unix://u:p@localhost/s");
    assert_eq!(config.servers, RedisConfig::unix("/s").servers);
    assert_eq!(
        (config.username.as_deref(), config.password.as_deref()),
        (Some("u"), Some("p"))
    );
}

#[test]
fn clusters_and_sentinels() {
    let config =
        parsed("redis-cluster://u:p@one,[::1]:7000,three:1?read_from=replica&wait_replicas=2");
    let nodes = [("one", 6379), ("::1", 7000), ("three", 1)];
    let by_hand = RedisConfig::cluster(nodes).username("u").password("p");
    assert_eq!(config, by_hand.read_from_replicas().wait_replicas(2));
    let config = parsed("valkeys-cluster://one?read_from=primary");
    assert_eq!(config, RedisConfig::cluster([("one", 6379)]).tls());
    let config = parsed(
        "rediss-sentinel://:p@one,two:1/3?master=my%20master&sentinel_username=s&sentinel_password=q%3A",
    );
    let by_hand = RedisConfig::sentinel("my master", [("one", 26379), ("two", 1)]).tls();
    let by_hand = by_hand.password("p").database(3);
    let by_hand = by_hand.sentinel_username("s").sentinel_password("q:");
    assert_eq!(config, by_hand);
}

#[test]
fn upstash() {
    let config = parsed("rediss://default:secret@eu1-x-1.upstash.io:6379");
    assert!(config.is_upstash() && config.value_limit() < 10_000_000);
    assert!(parsed("redis://:secret@127.0.0.1?upstash=true").is_upstash());
    assert!(!parsed("rediss://:secret@upstash.io.example").is_upstash());
    assert_eq!(
        parsed("rediss://:secret@h.upstash.io?max_value_len=7").value_limit(),
        7
    );
    #[cfg(not(feature = "rest"))]
    {
        let error = parse("upstash+https://:secret@h.upstash.io").expect_err("it is off");
        assert!(error.to_string().contains("`rest`"), "{error}");
    }
    #[cfg(feature = "rest")]
    {
        let config = parsed("upstash+https://:secret@h.upstash.io?prefix=p:");
        assert!(config.value_limit() < 7_500_000);
        let error = RedisConfig::new("h").max_connections(1).check();
        assert!(error.is_err(), "it would be ignored");
        let by_hand = RedisConfig::rest("h.upstash.io").password("secret");
        assert_eq!(config, by_hand.prefix("p:"));
        let local = RedisConfig::at(Servers::Rest("127.0.0.1".to_owned(), 80));
        let config = parsed("upstash+http://:secret@127.0.0.1:8080");
        assert_eq!(config, local.port(8080).password("secret"));
        for (url, part) in [
            ("upstash+https://h.upstash.io", "wants a password"),
            ("upstash+http://:secret@h.upstash.io", "TLS only"),
            ("upstash+https://:secret@h/1", "database but 0"),
            ("upstash+https://:secret@h,g", "several hosts"),
            ("upstash+https://user:secret@h", "no user"),
            ("upstash+https://:secret@h?upstash=true", "`upstash`"),
            ("redis://h?max_connections=7", "`max_connections`"),
            (
                "upstash+https://:secret@h?wait_replicas=1",
                "`wait_replicas`",
            ),
            (
                "upstash+https://:secret@h?max_connections=0",
                "`max_connections`",
            ),
        ] {
            let error = parse(url).expect_err(url);
            assert!(error.to_string().contains(part), "{url}: {error}");
        }
    }
}

#[test]
fn a_port_is_for_one_host() {
    for config in [
        RedisConfig::cluster([("h", 1)]).port(2),
        RedisConfig::unix("/s").port(2),
        RedisConfig::sentinel("m", [("h", 1)]).port(2),
    ] {
        let error = config.check().expect_err("a port");
        assert!(error.to_string().contains("`port`"), "{error}");
    }
}

#[test]
fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
    for (url, part) in [
        ("", "`://`"),
        ("secret", "`://`"),
        ("redis:secret", "`://`"),
        ("redis://", "host"),
        ("redis:///0", "host"),
        ("redis://:secret@", "no host"),
        ("redis://:sec/ret@h", "`/` or `@`"),
        ("redis://:sec ret@h", "space"),
        ("redis://h/0\n", "control"),
        ("redis://h#secret", "%23"),
        ("http://secret@h", "scheme"),
        ("redis://h%20st", "host"),
        ("redis://h:99999", "port"),
        ("redis://h:0", "port"),
        ("redis://h:", "port"),
        ("redis://[::1", "brackets"),
        ("redis://u:p:secret@h", "%3A"),
        ("redis://u@secret@h", "`/` or `@`"),
        ("redis://h,secret", "several hosts"),
        ("redis://h?master=secret", "`master`"),
        ("redis://h?sentinel_password=secret", "`sentinel_password`"),
        ("redis://h?read_from=secret", "`read_from`"),
        ("redis://h?read_from=replica", "where replicas are"),
        ("redis://h?wait_replicas=secret", "`wait_replicas`"),
        ("redis://h?upstash=secret", "`upstash`"),
        ("redis://h?upstash=true", "wants a password"),
        ("redis://:secret@h?upstash=true", "TLS only"),
        ("redis://:secret@secret.upstash.io", "TLS only"),
        ("rediss://secret.Upstash.io.", "wants a password"),
        ("rediss://:secret@h.upstash.io/1", "database but 0"),
        ("redis+unix:///secret?upstash=true", "Unix socket"),
        ("redis-cluster://", "host"),
        ("redis-cluster://h,", "host"),
        ("redis-cluster://h/1", "database but 0"),
        ("redis-cluster://h?master=secret", "`master`"),
        (
            "redis-cluster://:secret@h?upstash=true",
            "neither a cluster",
        ),
        ("redis-sentinel://h", "`master=mymaster`"),
        ("redis-sentinel://h?master=", "`master=mymaster`"),
        (
            "redis-sentinel://h?master=m&sentinel_username=secret",
            "without a `sentinel_password`",
        ),
        ("redis-sentinel://h:secret?master=m", "port"),
        ("redis://secret@h", "user name without a password"),
        ("redis://%ff:secret@h", "the user name"),
        ("redis://:secret%ff@h", "the password"),
        ("redis://h/secret", "database"),
        ("redis://h/256", "database"),
        ("redis://h/+1", "database"),
        ("redis://h/1/", "database"),
        ("redis://h//1", "database"),
        ("redis://h?secret", "`secret`"),
        ("redis://h?Secret=secret", "strange name"),
        ("redis://h?db=secret", "`db`"),
        ("redis://h?prefix=secret&prefix=secret", "`prefix` twice"),
        ("redis://h?prefix=secret%ff", "UTF-8"),
        ("redis://h?timeout=secret", "`timeout`"),
        ("redis://h?timeout=5", "`timeout`"),
        ("redis://h?timeout=s", "`timeout`"),
        ("redis://h?timeout=-5s", "`timeout`"),
        ("redis://h?timeout=0s", "`timeout`"),
        ("redis://h?timeout=99999999999999999999s", "`timeout`"),
        ("redis://h?timeout=9999999999999999999m", "`timeout`"),
        ("redis://h?timeout=25000m", "`timeout`"),
        ("redis://h?connect_timeout=0ms", "`connect_timeout`"),
        ("redis://h?max_pending=0", "`max_pending`"),
        ("redis://h?max_pending=9999999999", "`max_pending`"),
        ("redis://h?max_value_len=secret", "`max_value_len`"),
        ("redis://h?ca=secret", "`rediss://`"),
        (
            "redis://h?client_cert=secret&client_key=secret",
            "`rediss://`",
        ),
        ("rediss://h?ca=", "`ca`"),
        ("rediss://h?client_cert=secret", "go together"),
        ("redis+unix://secret/s", "no host but"),
        ("redis+unix:///", "file"),
        ("redis+unix:///s?ca=secret", "`rediss://`"),
    ] {
        let error = parse(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.to_string().contains(part), "{url}: {error}");
        if part != "`secret`" {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(
                !format!("{error} {error:?} {source}").contains("ecret"),
                "{url}: {error:?}"
            );
        }
    }
}

#[test]
fn debug_has_no_password() {
    let config = parsed("redis://user:hunter2@h?prefix=p:");
    let debug = format!("{config:?} {config:#?}");
    assert!(
        debug.contains("user") && debug.contains("p:") && !debug.contains("hunter2"),
        "{debug}"
    );
}
