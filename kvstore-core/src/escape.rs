//! Keys as names on servers that cannot hold every character, for providers.
//!
//! `~` and two upper-case hex digits stand for a byte of UTF-8. In a path, a segment that is empty is `~`, one
//! that is `.` or `..` has its dots escaped, and one over 255 bytes is broken with `~-/`. The mapping is
//! injective, and what it does not make is not decoded.
//!
//! ```
//! use kvstore_core::escape;
//!
//! let mut path = String::from("secrets/");
//! escape::to_path(&mut path, "a//../~\n", |char| char.is_control());
//! assert_eq!(path, "secrets/a/~/~2E~2E/~7E~0A");
//! ```

/// Which characters a server cannot hold as they are; `~` is escaped whatever it says.
pub type Reserved = fn(char) -> bool;

/// The longest name that is made.
const MAX_SEGMENT: usize = 255;

/// Ends a name whose segment goes on in the next.
const CONTINUES: &str = "~-";

/// Appends a key as a path of slash-separated names, none of them empty, `.`, `..` or over 255 bytes.
pub fn to_path(path: &mut String, key: &str, reserved: Reserved) {
    for (at, segment) in key.split('/').enumerate() {
        if at > 0 {
            path.push('/');
        }
        escape_segment(path, segment, reserved);
    }
}

/// Appends a key as one name, for servers without paths: only characters are escaped.
pub fn to_name(name: &mut String, key: &str, reserved: Reserved) {
    for char in key.chars() {
        match char == '~' || reserved(char) {
            true => escape_char(name, char),
            false => name.push(char),
        }
    }
}

/// Appends a key as one name of a path, for servers with paths on which keys lie side by side: as
/// [`to_name`], and `.` and `..` are escaped as well. `reserved` has the slash; a key is not empty.
pub fn to_child(path: &mut String, key: &str, reserved: Reserved) {
    match key {
        "." | ".." => key.chars().for_each(|dot| escape_char(path, dot)),
        _ => to_name(path, key, reserved),
    }
}

fn escape_segment(path: &mut String, segment: &str, reserved: Reserved) {
    let begin = path.len();
    match segment {
        "" => path.push('~'),
        _ => to_child(path, segment, reserved),
    }
    if path.len() - begin > MAX_SEGMENT {
        let long = path.split_off(begin);
        push_broken(path, &long);
    }
}

fn escape_char(path: &mut String, char: char) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut buffer = [0; 4];
    for byte in char.encode_utf8(&mut buffer).bytes() {
        path.push('~');
        path.push(char::from(HEX[usize::from(byte >> 4)]));
        path.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

/// Breaks an escaped segment, but for its last part each time as late as can be; never inside of a character
/// or of an escaped byte. What is left is at least three bytes long, so it is neither `.` nor `..`.
fn push_broken(path: &mut String, mut long: &str) {
    while long.len() > MAX_SEGMENT {
        let latest = MAX_SEGMENT - CONTINUES.len();
        let inside = |at: &usize| {
            !long.is_char_boundary(*at) || long.as_bytes()[at - 2..*at].contains(&b'~')
        };
        let mut end = latest;
        while inside(&end) {
            end -= 1;
        }
        let (part, rest) = long.split_at(end);
        path.push_str(part);
        path.push_str(CONTINUES);
        path.push('/');
        long = rest;
    }
    path.push_str(long);
}

/// The key of a path, if it is one that [`to_path`] makes.
pub fn from_path(path: &str, reserved: Reserved) -> Option<String> {
    let key = String::from_utf8(from_folder(path)?).ok()?;
    let mut again = String::with_capacity(path.len());
    to_path(&mut again, &key, reserved);
    (again == path).then_some(key)
}

/// The key of a name, if it is one that [`to_name`] makes.
pub fn from_name(name: &str, reserved: Reserved) -> Option<String> {
    from(name, reserved, to_name)
}

/// The key of a name, if it is one that [`to_child`] makes.
pub fn from_child(name: &str, reserved: Reserved) -> Option<String> {
    from(name, reserved, to_child)
}

fn from(name: &str, reserved: Reserved, to: fn(&mut String, &str, Reserved)) -> Option<String> {
    let mut key = Vec::with_capacity(name.len());
    unescape_name(&mut key, name)?;
    let key = String::from_utf8(key).ok()?;
    let mut again = String::with_capacity(name.len());
    to(&mut again, &key, reserved);
    (again == name).then_some(key)
}

/// How the keys begin that are in a folder, which is the beginning of a path up to and with a slash. It may
/// end inside of a character. Whether it is one that [`to_path`] makes is not looked at.
pub fn from_folder(path: &str) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(path.len());
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let (name, ends) = match name.strip_suffix(CONTINUES) {
            Some(name) => (name, false),
            None => (name, true),
        };
        if name != "~" {
            unescape_name(&mut key, name)?;
        }
        if ends && names.peek().is_some() {
            key.push(b'/');
        }
    }
    Some(key)
}

fn unescape_name(key: &mut Vec<u8>, name: &str) -> Option<()> {
    let mut parts = name.split('~');
    key.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        key.push(u8::from_str_radix(hex, 16).ok()?);
        key.extend_from_slice(rest.as_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control_or_symbol(char: char) -> bool {
        char < ' ' || char == '\x7f' || !(char.is_ascii() || char.is_alphanumeric())
    }

    fn escape(key: &str) -> String {
        let mut path = String::new();
        to_path(&mut path, key, control_or_symbol);
        path
    }

    #[track_caller]
    fn check(key: &str) -> String {
        let path = escape(key);
        assert_eq!(
            from_path(&path, control_or_symbol).as_deref(),
            Some(key),
            "{path}"
        );
        for name in path.split('/') {
            assert!(!matches!(name, "" | "." | ".."), "{key:?} is at {path}");
            assert!(name.len() <= MAX_SEGMENT, "{key:?} is at {path}");
            assert!(!name.chars().any(control_or_symbol), "{key:?} is at {path}");
        }
        path
    }

    #[test]
    fn ordinary_keys_stay_as_they_are() {
        for key in [
            "a",
            "a.b",
            "...",
            "..a",
            "user/7",
            "A-b_c:d",
            "a b",
            "%2e",
            "grüße",
            &"x".repeat(255),
        ] {
            assert_eq!(check(key), key);
        }
    }

    #[test]
    fn the_others_are_escaped() {
        for (key, path) in [
            ("/", "~/~"),
            ("a//b", "a/~/b"),
            ("a/", "a/~"),
            ("/a", "~/a"),
            (".", "~2E"),
            ("a/../b", "a/~2E~2E/b"),
            ("~", "~7E"),
            ("~/~2E", "~7E/~7E2E"),
            ("a\0\n", "a~00~0A"),
            ("🦀", "~F0~9F~A6~80"),
        ] {
            assert_eq!(check(key), path);
        }
    }

    #[test]
    fn names_have_their_characters_escaped_and_no_more() {
        for (key, expected) in [("a//../b", "a//../b"), (".", "."), ("a\0~/", "a~00~7E/")] {
            let mut name = String::new();
            to_name(&mut name, key, control_or_symbol);
            assert_eq!(name, expected);
            assert_eq!(from_name(&name, control_or_symbol).as_deref(), Some(key));
        }
        for name in ["~", "~2", "~7e", "~41", "~-", "\0", "~FF"] {
            assert_eq!(from_name(name, control_or_symbol), None, "{name:?}");
        }
    }

    #[test]
    fn children_are_one_name_of_a_path() {
        let reserved = |char| char == '/' || control_or_symbol(char);
        for (key, expected) in [
            ("a/b", "a~2Fb"),
            ("/", "~2F"),
            (".", "~2E"),
            ("..", "~2E~2E"),
            ("...", "..."),
            ("./..", ".~2F.."),
            ("~2E", "~7E2E"),
        ] {
            let mut name = String::new();
            to_child(&mut name, key, reserved);
            assert_eq!(name, expected);
            assert_eq!(from_child(&name, reserved).as_deref(), Some(key));
        }
        for name in [".", "..", "a/b", "~2E~2E~2E", "~2Ea", "~", "~2f"] {
            assert_eq!(from_child(name, reserved), None, "{name:?}");
        }
    }

    #[test]
    fn long_segments_are_broken_between_characters() {
        assert_eq!(
            check(&"x".repeat(256)),
            format!("{}~-/xxx", "x".repeat(253))
        );
        for (unit, shift) in [
            ("é", 0),
            ("é", 1),
            ("🦀", 0),
            ("🦀", 1),
            ("🦀", 2),
            ("\0", 0),
            ("\0", 2),
            (".", 0),
        ] {
            for times in [
                80, 84, 85, 86, 127, 128, 130, 253, 254, 255, 256, 257, 258, 600,
            ] {
                check(&format!("{}{}/end", "a".repeat(shift), unit.repeat(times)));
            }
        }
    }

    #[test]
    fn what_is_not_made_here_is_not_ours() {
        let long = "x".repeat(256);
        for path in [
            "", "a/", "/a", "a//b", "..", "~~", "~2", "~2e", "~41", "~-", "a~-", "a~-/b", "~FF",
            "~+1", "a~", "~é", "🦀", "~2E/..", &long,
        ] {
            assert_eq!(from_path(path, control_or_symbol), None, "{path}");
        }
    }

    #[test]
    fn the_beginning_of_a_path_is_the_beginning_of_the_key() {
        for (part, key) in [
            ("a/~/", "a//"),
            ("a~7E/", "a~/"),
            ("", ""),
            ("~/", "/"),
            ("xy~-/", "xy"),
        ] {
            assert_eq!(from_folder(part).as_deref(), Some(key.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn any_key_comes_back(key in "(?s).{1,300}") {
            check(&key);
        }

        #[test]
        fn keys_of_odd_pieces_come_back(pieces in prop::collection::vec(
            prop::sample::select(vec!["/", "~", ".", "..", "~-", "~2E", "-", "a", "é", "🦀", "\0", "%", " ", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]),
            1..40,
        )) {
            check(&pieces.concat());
        }

        #[test]
        fn two_keys_never_meet(a in "[/~.a\u{e9}-]{1,6}", b in "[/~.a\u{e9}-]{1,6}") {
            prop_assert_eq!(escape(&a) == escape(&b), a == b);
        }

        #[test]
        fn what_is_decoded_is_what_escape_makes(path in "[/~.aE0-9é-]{1,12}") {
            if let Some(key) = from_path(&path, control_or_symbol) {
                prop_assert_eq!(escape(&key), path);
            }
        }
    }
}
