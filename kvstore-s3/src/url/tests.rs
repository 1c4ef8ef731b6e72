use super::*;
use std::error::Error as _;
use std::time::Duration;

#[track_caller]
fn parsed(url: &str) -> S3Config {
    parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn every_part_is_read() {
    let config = parsed(
        "s3://id:s%2Fe%3Acret@s3.example:7000/my.bucket?prefix=a//b%20&region=eu-1&session_token_env=T\
         &ca=/ca.pem&timeout=1500ms&connect_timeout=2m&max_connections=3&max_pending=7&max_value_len=99\
         &expiry=false&conditions=false&strong_reads=false",
    );
    let by_hand = S3Config::new("s3.example", "my.bucket")
        .port(7000)
        .prefix("a//b ")
        .region("eu-1")
        .credentials("id", "s/e:cret")
        .session_token(Credential::env("T"))
        .ca("/ca.pem")
        .timeout(Duration::from_millis(1500))
        .connect_timeout(Duration::from_secs(120))
        .max_connections(3)
        .max_pending(7)
        .max_value_len(99)
        .without_expiry()
        .without_conditions()
        .without_strong_reads();
    assert_eq!(config, by_hand);
}

#[test]
fn what_is_not_said_has_a_default() {
    for url in [
        "s3://i:s@h/bucket",
        "s3://i:s@h/bucket?",
        "s3://i:s@h/bucket?prefix=&expiry=true&conditions=true&strong_reads=true",
    ] {
        let by_hand = S3Config::new("h", "bucket").credentials("i", "s");
        assert_eq!(parsed(url), by_hand);
    }
    let plain = S3Config::new("h", "bucket").plain().credentials("i", "s");
    assert_eq!(parsed("s3+http://i:s@h/bucket"), plain);
}

#[test]
fn there_are_many_ways_to_sign() {
    let server = || S3Config::new("h", "bucket");
    for (url, by_hand) in [
        (
            "s3://i@h/bucket?secret_access_key_file=/s",
            server().credentials("i", Credential::file("/s")),
        ),
        (
            "s3://h/bucket?access_key_id=i&secret_access_key_env=S&session_token_file=/t",
            server()
                .credentials("i", Credential::env("S"))
                .session_token(Credential::file("/t")),
        ),
        ("s3://h/bucket?credentials=aws", server().aws_credentials()),
        ("s3://h/bucket?credentials=none", server().anonymous()),
    ] {
        assert_eq!(parsed(url), by_hand, "{url}");
    }
}

#[test]
fn addresses_have_ports_and_regions() {
    for (url, base, region) in [
        ("s3://i:s@h/bucket", "https://h", "us-east-1"),
        (
            "s3+http://i:s@[::1]:7000/bucket",
            "http://[::1]:7000",
            "us-east-1",
        ),
        (
            "s3://i:s@s3.eu-central-1.amazonaws.com/bucket",
            "https://s3.eu-central-1.amazonaws.com",
            "eu-central-1",
        ),
        (
            "s3://i:s@s3.dualstack.eu-west-1.amazonaws.com/bucket",
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            "s3://i:s@s3-fips.us-gov-west-1.amazonaws.com/bucket",
            "https://s3-fips.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
        ),
        (
            "s3://i:s@s3.cn-north-1.amazonaws.com.cn/bucket",
            "https://s3.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
        ),
        (
            "s3://i:s@s3.amazonaws.com/bucket",
            "https://s3.amazonaws.com",
            "us-east-1",
        ),
        (
            "s3://i:s@s3.eu-1.example/bucket?region=garage",
            "https://s3.eu-1.example",
            "garage",
        ),
    ] {
        let config = parsed(url);
        assert_eq!(config.base(), base);
        assert_eq!(config.signing_region(), region);
    }
    assert!(parsed("s3://i:s@192.0.2.1/bucket").is_remote());
    assert!(!parsed("s3://i:s@[::1]/bucket").is_remote());
}

#[test]
fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
    for (url, part) in [
        ("", "cannot be read"),
        ("secret", "cannot be read"),
        ("s3:secret", "`//`"),
        ("s3://", "host"),
        ("s3:///hidden", "host"),
        ("s3://i:s@h", "no bucket"),
        ("s3://i:s@h/", "no bucket"),
        ("s3://i:s@h/bucket/hidden", "`prefix`"),
        ("s3://i:s@h/bucket/", "`prefix`"),
        ("s3://i:s@h/hidden/../bucket", "`..`"),
        ("s3://i:s@h/hidden/%2E%2e/bucket", "`..`"),
        ("s3://i:s@h/./bucket", "`.`"),
        ("s3://i:s@h/hidden/..?region=a", "`..`"),
        ("s3://i:s@h/hidden%2", "the path"),
        ("s3://i:hidden%@h/bucket", "the password"),
        ("s3://hid%den:s@h/bucket", "the user name"),
        ("s3://i:s@h/bucket?prefix=hidden%zz", "a parameter"),
        ("s3://i:s@h/bucket?=", "without a name"),
        ("s3://i:s@h/bucket?strong_reads=hidden", "`strong_reads`"),
        ("s3://i:s@h/hidd%20en", "bucket has characters"),
        ("s3://h/bucket", "credentials"),
        ("s3://i:hid/den@h/bucket", "cannot be read"),
        ("s3://i:hid den@h/bucket", "space"),
        ("s3://i:s@h/bucket#hidden", "fragment"),
        ("http://i:hidden@h/bucket", "scheme"),
        ("s3+https://i:hidden@h/bucket", "scheme"),
        ("s3://i:s@h:99999/bucket", "cannot be read"),
        ("s3://i:s@h%20st/bucket", "host"),
        ("s3://i:s@192.0.2.999/bucket", "IP address"),
        ("s3://i:s@h.1/bucket", "IP address"),
        ("s3://%ff:hidden@h/bucket", "the user name"),
        ("s3://i:hidden%ff@h/bucket", "the password"),
        ("s3://:hidden@h/bucket", "without its id"),
        ("s3://hidden@h/bucket", "without its secret"),
        (
            "s3://h/bucket?secret_access_key_env=hidden",
            "without its id",
        ),
        ("s3://hid%2Fden:s@h/bucket", "the access key's id"),
        ("s3://i:hidden@h/bucket?credentials=aws", "to take others"),
        ("s3://h/bucket?credentials=hidden", "`credentials`"),
        (
            "s3://h/bucket?credentials=none&session_token_env=hidden",
            "`session_token`",
        ),
        ("s3://i:s@h/bucket?access_key_id=hidden", "twice"),
        ("s3://i:s@h/bucket?secret_access_key_file=hidden", "twice"),
        (
            "s3://i@h/bucket?secret_access_key_file=",
            "`secret_access_key_file`",
        ),
        ("s3://i:s@h/bucket?hidden", "`hidden`"),
        ("s3://i:s@h/bucket?Hidden=hidden", "strange name"),
        (
            "s3://i:s@h/bucket?secret_access_key=hidden",
            "`secret_access_key`",
        ),
        (
            "s3://i:s@h/bucket?prefix=hidden&prefix=hidden",
            "`prefix` twice",
        ),
        ("s3://i:s@h/bucket?prefix=hidden%ff", "UTF-8"),
        ("s3://i:s@h/bucket?region=", "`region`"),
        ("s3://i:s@h/bucket?region=hid%2Fden", "`region`"),
        ("s3://i:s@h/bucket?timeout=hidden", "`timeout`"),
        ("s3://i:s@h/bucket?timeout=5", "`timeout`"),
        ("s3://i:s@h/bucket?timeout=0s", "`timeout`"),
        (
            "s3://i:s@h/bucket?timeout=9999999999999999999m",
            "`timeout`",
        ),
        (
            "s3://i:s@h/bucket?connect_timeout=25000m",
            "`connect_timeout`",
        ),
        ("s3://i:s@h/bucket?max_connections=0", "`max_connections`"),
        ("s3://i:s@h/bucket?max_pending=9999999999", "`max_pending`"),
        ("s3://i:s@h/bucket?max_value_len=+1", "`max_value_len`"),
        ("s3://i:s@h/bucket?expiry=hidden", "`expiry`"),
        ("s3://i:s@h/bucket?conditions=hidden", "`conditions`"),
        ("s3://i:s@h/bucket?ca=", "`ca`"),
        ("s3+http://i:s@h/bucket?ca=hidden", "the scheme `s3`"),
    ] {
        let error = parse(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.to_string().contains(part), "{url}: {error}");
        if part != "`hidden`" {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            let shown = format!("{error} {error:?} {source}");
            assert!(
                !shown.contains("idden") && !shown.contains("den@"),
                "{url}: {error:?}"
            );
        }
    }
    let long = format!("s3://i:s@h/bucket?prefix={}", "x".repeat(241));
    assert!(parse(&long).unwrap_err().to_string().contains("`prefix`"));
}

#[test]
fn a_host_that_is_none_is_an_error_also_by_hand() {
    for host in ["", "a b", "a/b", "::g", "a:b:c", "1.2.3.4.5", "0x100000000"] {
        let config = S3Config::new(host, "bucket").anonymous();
        let error = config.check().expect_err(host);
        assert!(error.to_string().contains("host"), "{host}: {error}");
    }
}

#[test]
fn debug_has_no_secret() {
    for url in [
        "s3://id:hunter2@h/bucket",
        "s3://id:hunter2@h/bucket?session_token_env=T",
    ] {
        let config = parsed(url);
        let debug = format!("{config:?} {config:#?}");
        assert!(
            debug.contains("bucket") && !debug.contains("hunter2"),
            "{debug}"
        );
    }
}
