use super::*;

fn one(query: &str) -> Parameter<'_> {
    parameters(query).unwrap().pop().unwrap()
}

#[track_caller]
fn refused<T>(result: Result<T>) -> String {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    error.to_string()
}

#[test]
fn a_url_is_found_in_its_parts() {
    let url = "Fruit://us%40er:p%2Fw%3A@one.example,[fe80::2]:7001,10.0.0.3:7002/a%2Fb?c=d";
    let url = Url::parse(url).unwrap();
    assert_eq!(url.scheme(), "fruit");
    let password = Some("p/w:".to_owned());
    assert_eq!(url.login().unwrap(), Some(("us@er".to_owned(), password)));
    assert_eq!(url.hosts(), "one.example,[fe80::2]:7001,10.0.0.3:7002");
    let servers = [("one.example", 7000), ("fe80::2", 7001), ("10.0.0.3", 7002)];
    let servers = servers.map(|(host, port)| (host.to_owned(), port));
    assert_eq!(url.servers(7000).unwrap(), servers);
    assert_eq!(url.path(), "/a%2Fb");
    let parameters = url.parameters().unwrap();
    assert_eq!((parameters[0].name(), parameters[0].value()), ("c", "d"));
    let debug = format!("{url:?}");
    assert!(
        debug.contains("one.example") && !debug.contains("p%2F"),
        "{debug}"
    );

    let url = Url::parse("fruit://user@?").unwrap();
    assert_eq!(url.login().unwrap(), Some(("user".to_owned(), None)));
    assert_eq!((url.hosts(), url.path()), ("", ""));
    assert!(url.parameters().unwrap().is_empty());
    assert_eq!(Url::parse("fruit://h").unwrap().login().unwrap(), None);
}

#[test]
fn what_is_no_part_of_a_url_is_refused() {
    for (url, says) in [
        ("", "`://`"),
        ("fruit:secret", "`://`"),
        ("fruit://h#secret", "%23"),
        ("fruit://sec ret@h", "%20"),
        ("fruit://user:sec/ret@h", "`/` or `@`"),
        ("fruit://user:sec@ret@h", "`/` or `@`"),
    ] {
        let message = refused(Url::parse(url));
        assert!(
            message.contains(says) && !message.contains("ret"),
            "{message}"
        );
    }
    for (login, says) in [
        ("user:sec:ret", "%3A"),
        ("user:secret%", "the password"),
        ("secret%ff", "the user name"),
    ] {
        let url = format!("fruit://{login}@h");
        let message = refused(Url::parse(&url).unwrap().login());
        assert!(
            message.contains(says) && !message.contains("ret"),
            "{message}"
        );
    }
    for (hosts, says) in [
        ("", "no host"),
        ("h,", "no host"),
        (":7000", "no host"),
        ("::1", "no host"),
        ("sec%20ret", "no host has"),
        ("sec[ret", "no host has"),
        ("[secret]", "brackets"),
        ("[::1", "brackets"),
        ("[::1]7000", "port"),
        ("[::1]:", "port"),
        ("h:", "port"),
        ("h:0", "port"),
        ("h:65536", "port"),
        ("h:+1", "port"),
        ("h:secret", "port"),
        ("fe80::2", "brackets"),
    ] {
        let url = format!("fruit://{hosts}");
        let message = refused(Url::parse(&url).unwrap().servers(7000));
        assert!(
            message.contains(says) && !message.contains("ret"),
            "{hosts}: {message}"
        );
    }
    let url = Url::parse("secret://h").unwrap();
    let message = url.is_none_of(&["fruit", "fruits"]).to_string();
    assert!(message.ends_with("none of fruit, fruits"), "{message}");
}

#[test]
fn parameters_come_in_order_and_decoded() {
    let all = parameters("&b=%C3%BC%25&a&&c=x=y+z&").unwrap();
    let all: Vec<_> = all.iter().map(|one| (one.name(), one.value())).collect();
    assert_eq!(all, [("b", "ü%"), ("a", ""), ("c", "x=y+z")]);
    assert!(parameters("").unwrap().is_empty());
}

#[test]
fn times_are_numbers_with_a_unit() {
    for (text, expected) in [
        ("0s", 0),
        ("1500ms", 1500),
        ("2m", 120_000),
        ("1h", 3_600_000),
    ] {
        let query = format!("timeout={text}");
        let parsed = one(&query).duration().unwrap();
        assert_eq!(parsed, Duration::from_millis(expected), "{text}");
    }
    let too_long = format!("{}m", u64::MAX / 60 + 1);
    for text in ["", "5", "s", "+5s", "5 s", "1.5s", "5d", "-1s", &too_long] {
        let query = format!("timeout={text}");
        let message = refused(one(&query).duration());
        assert!(
            message.contains("`timeout` is not a number followed by"),
            "{message}"
        );
    }
}

#[test]
fn numbers_are_digits() {
    assert_eq!(one("n=255").number::<u8>().unwrap(), 255);
    for text in ["", "256", "+1", "-1", "1_0", "0x1"] {
        let query = format!("n={text}");
        assert!(refused(one(&query).number::<u8>()).contains("`n` is not a number"));
    }
}

#[test]
fn flags_are_words_and_files_are_named() {
    assert!(one("x=true").flag().unwrap());
    assert!(!one("x=false").flag().unwrap());
    assert!(refused(one("x=yes").flag()).contains("`true` or `false`"));
    assert_eq!(one("ca=/a%20b").file().unwrap(), PathBuf::from("/a b"));
    assert!(refused(one("ca=").file()).contains("`ca` is not the path of a file"));
}

#[test]
fn what_is_wrong_is_named_and_no_value_is_shown() {
    for (query, named) in [
        ("=secret", "a parameter without a name"),
        ("a=secret&a=secret", "the parameter `a` twice"),
        ("Secret=1&Secret=1", "with a strange name twice"),
        ("a=%secret", "a parameter of the URL has a `%`"),
        ("a=secret%2", "a parameter of the URL has a `%`"),
        ("a=secret%+1", "a parameter of the URL has a `%`"),
        ("a=secret%FF", "not UTF-8"),
    ] {
        let message = refused(parameters(query));
        assert!(message.contains(named), "{message}");
        assert!(!message.to_lowercase().contains("secret"), "{message}");
    }
    for (query, named) in [
        ("tiemout=secret", "`tiemout`, which is none of timeout"),
        ("Secret=secret", "with a strange name"),
    ] {
        let parameter = one(query);
        let message = refused::<()>(Err(parameter.unknown("timeout")));
        assert!(message.contains(named), "{message}");
        for shown in [message, format!("{parameter:?}")] {
            assert!(!shown.to_lowercase().contains("secret"), "{shown}");
        }
    }
}

#[test]
fn spaces_and_controls_are_refused() {
    for text in ["a b", "a\n", "\ta", "a\u{a0}b", "a\0"] {
        refused(check(text));
    }
    check("redis://h/%20?ü=1").unwrap();
}
