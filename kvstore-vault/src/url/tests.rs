use super::*;
use std::error::Error as _;
use std::time::Duration;

#[track_caller]
fn parsed(url: &str) -> VaultConfig {
    parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn every_part_is_read() {
    let config = parsed(
        "vault://role:s%2Fe%3Acret@vault.example:7000/team/kv?path=a/b&namespace=n/m&auth_mount=x%2Fy\
         &ca=/ca.pem&client_cert=/c.pem&client_key=/k%20.pem&timeout=1500ms&connect_timeout=2m\
         &max_connections=3&max_pending=7&max_value_len=99&max_versions=2&keep_counter=true",
    );
    let by_hand = VaultConfig::new("vault.example")
        .port(7000)
        .mount("team/kv")
        .path("a/b")
        .namespace("n/m")
        .approle("role", "s/e:cret")
        .auth_mount("x/y")
        .ca("/ca.pem")
        .client_cert("/c.pem", "/k .pem")
        .timeout(Duration::from_millis(1500))
        .connect_timeout(Duration::from_secs(120))
        .max_connections(3)
        .max_pending(7)
        .max_value_len(99)
        .max_versions(2)
        .keep_counter();
    assert_eq!(config, by_hand);
}

#[test]
fn what_is_not_said_has_a_default() {
    for url in [
        "vault://:t@h",
        "vault://:t@h/",
        "openbao://:t@h?",
        "vault://:t@h:8200/secret?path=kvstore",
    ] {
        assert_eq!(parsed(url), VaultConfig::new("h").token("t"));
    }
    for url in ["vault+http://:t@h", "openbao+http://:t@h"] {
        assert_eq!(parsed(url), VaultConfig::new("h").plain().token("t"));
    }
}

#[test]
fn there_are_many_ways_to_log_in() {
    let server = || VaultConfig::new("h");
    for (login, by_hand) in [
        ("token_file=/t", server().token(Credential::file("/t"))),
        ("token_env=T", server().token(Credential::env("T"))),
        (
            "role_id=r&secret_id_file=/s",
            server().approle("r", Credential::file("/s")),
        ),
        (
            "secret_id_env=S&role_id=r",
            server().approle("r", Credential::env("S")),
        ),
        ("kubernetes_role=r", server().kubernetes("r")),
        (
            "kubernetes_role=r&jwt_file=/j",
            server().kubernetes_with_jwt("r", "/j"),
        ),
    ] {
        assert_eq!(parsed(&format!("vault://h?{login}")), by_hand);
    }
    let config = parsed("vault://role@h?secret_id_file=/s");
    assert_eq!(config, server().approle("role", Credential::file("/s")));
}

#[test]
fn ipv6_hosts_lose_their_brackets() {
    let config = parsed("vault+http://:t@[::1]:7000");
    assert_eq!(
        (config.host.as_str(), config.base().as_str()),
        ("::1", "http://[::1]:7000")
    );
    assert!(!config.is_remote() && parsed("vault://:t@192.0.2.1").is_remote());
}

#[test]
fn what_is_not_understood_is_an_error_that_names_the_part_and_no_value() {
    for (url, part) in [
        ("", "cannot be read"),
        ("secret", "cannot be read"),
        ("vault:secret", "`//`"),
        ("vault://", "host"),
        ("vault:///hidden", "host"),
        ("vault://h", "log in"),
        ("vault://:hid/den@h", "cannot be read"),
        ("vault://:hid den@h", "space"),
        ("vault://h#hidden", "fragment"),
        ("http://:hidden@h", "scheme"),
        ("vault+https://:hidden@h", "scheme"),
        ("vault://:t@h:99999", "cannot be read"),
        ("vault://:t@h%20st", "host"),
        ("vault://%ff:hidden@h", "the user name"),
        ("vault://:hidden%ff@h", "the password"),
        ("vault://:t@h/hidden/", "mount"),
        ("vault://:t@h//hidden", "mount"),
        ("vault://:t@h/hid~den", "mount"),
        ("vault://:t@h?path=", "`path`"),
        ("vault://:t@h?path=/hidden", "`path`"),
        ("vault://:t@h?path=hidden/%2e%2e/b", "`path`"),
        ("vault://:t@h?namespace=", "`namespace`"),
        ("vault://:t@h?namespace=hidd%C3%A9n", "`namespace`"),
        ("vault://:t@h?hidden", "`hidden`"),
        ("vault://:t@h?Hidden=hidden", "strange name"),
        ("vault://:t@h?token=hidden", "`token`"),
        ("vault://:t@h?path=hidden&path=hidden", "`path` twice"),
        ("vault://:t@h?path=hidden%ff", "UTF-8"),
        ("vault://:t@h?token_file=hidden", "twice"),
        ("vault://:t@h?token_env=", "`token_env`"),
        (
            "vault://:t@h?role_id=hidden&secret_id_env=hidden",
            "more than one way",
        ),
        (
            "vault://h?token_file=hidden&kubernetes_role=hidden",
            "more than one way",
        ),
        ("vault://hidden@h", "without a secret id"),
        ("vault://h?secret_id_file=hidden", "`role_id`"),
        ("vault://h?jwt_file=hidden", "`kubernetes_role`"),
        ("vault://:t@h?auth_mount=hidden", "`auth_mount`"),
        ("vault://a:b@h?auth_mount=../hidden", "`auth_mount`"),
        ("vault://:t@h?timeout=hidden", "`timeout`"),
        ("vault://:t@h?timeout=5", "`timeout`"),
        ("vault://:t@h?timeout=0s", "`timeout`"),
        ("vault://:t@h?timeout=9999999999999999999m", "`timeout`"),
        ("vault://:t@h?connect_timeout=25000m", "`connect_timeout`"),
        ("vault://:t@h?max_connections=0", "`max_connections`"),
        ("vault://:t@h?max_pending=9999999999", "`max_pending`"),
        ("vault://:t@h?max_value_len=+1", "`max_value_len`"),
        ("vault://:t@h?max_versions=0", "`max_versions`"),
        ("vault://:t@h?keep_counter=hidden", "`keep_counter`"),
        ("vault://:t@h?ca=", "`ca`"),
        ("vault://:t@h?client_cert=hidden", "go together"),
        ("vault+http://:t@h?ca=hidden", "the scheme `vault`"),
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
}

#[test]
fn debug_has_no_secret() {
    for url in ["vault://:hunter2@h", "vault://role:hunter2@h"] {
        let config = parsed(url);
        let debug = format!("{config:?} {config:#?}");
        assert!(
            debug.contains("kvstore") && !debug.contains("hunter2"),
            "{debug}"
        );
    }
}
