use std::error::Error as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Acl, Rights};

#[track_caller]
fn parsed(url: &str) -> ZooKeeperConfig {
    parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn every_part_is_read() {
    let config = parsed(
        "zookeeper://us%40er:p%2Fw%3A%C3%BC%25@zk1.example:7000,[::1]:7001,[::2],zk4/apps/my%20fruit\
         ?acl=auth::cdrwa,digest:bob:h4%2B:r&timeout=1500ms&connect_timeout=2m&session_timeout=30s&max_pending=7\
         &max_value_len=99",
    );
    let by_hand = ZooKeeperConfig::new("zk1.example", 7000)
        .server("::1", 7001)
        .server("::2", 2181)
        .server("zk4", 2181)
        .root("/apps/my fruit")
        .credentials("us@er", "p/w:ü%")
        .acl([Acl::creator(), Acl::new("digest", "bob:h4+", Rights::READ)])
        .timeout(Duration::from_millis(1500))
        .connect_timeout(Duration::from_secs(120))
        .session_timeout(Duration::from_secs(30))
        .max_pending(7)
        .max_value_len(99);
    assert_eq!(config, by_hand);
    let shown = format!("{config:?}");
    assert!(shown.contains(r#""[::1]:7001""#) && shown.contains("us@er"));
    assert!(!shown.contains("p/w") && !shown.contains("h4"), "{shown}");
}

#[test]
fn what_is_not_said_has_a_default() {
    for url in [
        "zookeeper://h",
        "ZooKeeper://h/",
        "zookeeper://h:2181?",
        "zookeeper://h/kvstore",
    ] {
        assert_eq!(parsed(url), ZooKeeperConfig::new("h", 2181));
    }
    let open = parsed("zookeeper://h").acl_or_default();
    assert_eq!(open, [Acl::open()]);
    let closed = parsed("zookeeper://a:b@h").acl_or_default();
    assert_eq!(closed, [Acl::creator()]);
    let told = parsed("zookeeper://a:b@h?acl=world:anyone:r").acl_or_default();
    assert_eq!(told, [Acl::new("world", "anyone", Rights::READ)]);
}

#[test]
fn what_is_not_understood_is_named_and_not_shown() {
    for (url, says) in [
        ("zookeeper:h", "no `://`"),
        ("zookeepers://h", "scheme is none of zookeeper"),
        ("zookeeper://", "no host"),
        ("zookeeper://h,", "no host"),
        ("zookeeper://h,,i", "no host"),
        ("zookeeper://:2181", "no host"),
        ("zookeeper://[::1", "brackets"),
        ("zookeeper://[::1]hunter2", "port"),
        ("zookeeper://h:hunter2", "port"),
        ("zookeeper://h:", "port"),
        ("zookeeper://h:0", "port"),
        ("zookeeper://h:70000", "port"),
        ("zookeeper://h:+1", "port"),
        ("zookeeper://hunter2%41", "characters that no host has"),
        ("zookeeper://hunter2@h", "without a password"),
        ("zookeeper://:hunter2@h", "user's name is empty"),
        ("zookeeper://a%3Ab:hunter2@h", "has a `:`"),
        ("zookeeper://a:b:hunter2@h", "%3A"),
        ("zookeeper://a:hun@ter2@h", "too many"),
        ("zookeeper://a:hun/ter2@h", "too many"),
        (
            "zookeeper://a:hunter2%FF@h",
            "password of the URL is not UTF-8",
        ),
        ("zookeeper://a:hunter2%@h", "password of the URL has a `%`"),
        ("zookeeper://hun%ter2:b@h", "user name of the URL has a `%`"),
        ("zookeeper://h/hunter2%2", "path of the URL has a `%`"),
        ("zookeeper://h?acl=%zzhunter2", "a parameter of the URL has"),
        ("zookeeper://h?=", "without a name"),
        ("zookeeper://h?max_pending=1&=", "without a name"),
        ("zookeeper://h/a//hunter2", "the root is not a path"),
        ("zookeeper://h/a/", "the root is not a path"),
        ("zookeeper://h/..", "the root is not a path"),
        ("zookeeper://h/zookeeper/hunter2", "the root is not a path"),
        ("zookeeper://h/%F0%9F%A6%80", "the root is not a path"),
        ("zookeeper://h/a#hunter2", "%23"),
        ("zookeeper://h/a hunter2", "%20"),
        ("zookeeper://h?hunter2=1", "strange name"),
        ("zookeeper://h?path=hunter2", "`path`, which is none of acl"),
        (
            "zookeeper://h?timeout=1s&timeout=hunter2",
            "`timeout` twice",
        ),
        (
            "zookeeper://h?timeout=hunter2",
            "`timeout` is not a number followed by",
        ),
        ("zookeeper://h?timeout=0s", "`timeout` is from 1 ms"),
        (
            "zookeeper://h?connect_timeout=25m2",
            "`connect_timeout` is not",
        ),
        (
            "zookeeper://h?session_timeout=99999m",
            "`session_timeout` is from",
        ),
        ("zookeeper://h?max_pending=0", "`max_pending` is from 1"),
        (
            "zookeeper://h?max_pending=+5",
            "`max_pending` is not a number",
        ),
        (
            "zookeeper://h?max_value_len=hunter2",
            "`max_value_len` is not a number",
        ),
        (
            "zookeeper://h?max_value_len=9999999999",
            "`max_value_len` is at most",
        ),
        ("zookeeper://h?acl=", "an ACL is"),
        ("zookeeper://h?acl=hunter2", "an ACL is"),
        ("zookeeper://h?acl=auth::r", "no credentials"),
    ] {
        let error = parse(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.to_string().contains(says), "{url}: {error}");
        assert!(error.source().is_none());
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("ter2"),
            "{shown}"
        );
    }
}

proptest! {
    #[test]
    fn nothing_makes_a_panic(rest in "[ -~ü]{0,40}") {
        let _ = parse(&rest);
        let _ = parse(&format!("zookeeper://{rest}"));
        let _ = parse(&format!("zookeeper://h/{rest}"));
        let _ = parse(&format!("zookeeper://h?{rest}"));
    }
}
