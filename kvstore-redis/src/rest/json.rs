//! Commands and answers as JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::command::{Command, Reply};
use crate::error::{Failure, Refusal, not_understood, unknown};

/// Makes bytes of what `as_text` has made of them, in all arguments of a script.
const BYTES: &str = "local t={} local c=string.char \
                     for i=0,31 do t[c(196,128+i)]=c(i) end \
                     for i=128,191 do t[c(194,i)]=c(i) t[c(195,i)]=c(i+64) end \
                     for i=1,#ARGV do ARGV[i]=string.gsub(ARGV[i],'[\\194-\\196][\\128-\\191]',t) end ";

/// A command, as Upstash takes it.
///
/// JSON holds text alone, and writes control characters in six bytes. Where a value is no text, or would be more than
/// twice as long, the command is a script that makes the bytes of what stands for them.
pub(crate) fn command(command: &Command) -> Vec<u8> {
    let words: Vec<&[u8]> = command.words().collect();
    let texts: Result<Vec<&str>, _> = words.iter().map(|word| std::str::from_utf8(word)).collect();
    if let Ok(texts) = texts {
        let json = array(&texts);
        let bytes: usize = words.iter().map(|word| word.len()).sum();
        let has_value = matches!(words[0], b"SET" | b"MSET" | b"EVAL" | b"EVALSHA");
        if !has_value || json.len() <= 2 * bytes + BYTES.len() {
            return json;
        }
    }
    let script = as_script(command, &words);
    array(&script.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A script that gives bytes back, as those that [`command`] makes.
pub(crate) fn echo(bytes: &[u8]) -> Vec<u8> {
    array(&[
        "EVAL",
        &format!("{BYTES}return ARGV[1]"),
        "0",
        &as_text(bytes),
    ])
}

fn as_script(command: &Command, words: &[&[u8]]) -> Vec<String> {
    let (text, keys, args): (_, Vec<&[u8]>, _) = match command.text() {
        Some(text) => (text, vec![words[3]], &words[4..]),
        None => {
            // `SET` and `MSET`, whose keys and values take turns.
            let keys = match words[0] {
                b"MSET" => words[1..].iter().step_by(2).copied().collect(),
                _ => vec![words[1]],
            };
            ("return redis.call(unpack(ARGV))", keys, words)
        }
    };
    let head = [
        "EVAL".to_owned(),
        format!("{BYTES}{text}"),
        keys.len().to_string(),
    ];
    let keys = keys
        .iter()
        .map(|key| String::from_utf8_lossy(key).into_owned());
    let args = args.iter().map(|word| as_text(word));
    head.into_iter().chain(keys).chain(args).collect()
}

/// Bytes as text: of the characters with their numbers, but for control characters, which JSON makes long.
fn as_text(bytes: &[u8]) -> String {
    let stands = |byte: &u8| match byte {
        0..32 => char::from_u32(0x100 + u32::from(*byte)).unwrap_or_default(),
        _ => char::from(*byte),
    };
    bytes.iter().map(stands).collect()
}

fn array(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| Value::String((*word).to_owned()));
    Value::Array(words.collect()).to_string().into_bytes()
}

/// The answer to one command.
pub(crate) fn answer(text: &[u8], writes: bool) -> Result<Reply, Failure> {
    let strange = || Failure::Lost(unknown(not_understood(), writes));
    read(serde_json::from_slice(text).map_err(|_| strange())?).unwrap_or_else(|| Err(strange()))
}

/// The answers to several commands.
pub(crate) fn answers(
    text: &[u8],
    count: usize,
    writes: bool,
) -> Result<Vec<Result<Reply, Failure>>, Failure> {
    let strange = || Failure::Lost(unknown(not_understood(), writes));
    match serde_json::from_slice(text) {
        Ok(Value::Array(items)) if items.len() == count => {
            let read = |item| read(item).unwrap_or_else(|| Err(strange()));
            Ok(items.into_iter().map(read).collect())
        }
        // All of them were refused.
        Ok(item) => Err(match read(item) {
            Some(Err(failure)) => failure,
            _ => strange(),
        }),
        Err(_) => Err(strange()),
    }
}

/// The words with which a request was refused.
pub(crate) fn refusal(text: &[u8]) -> Option<Refusal> {
    match read(serde_json::from_slice(text).ok()?)? {
        Err(Failure::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

fn read(item: Value) -> Option<Result<Reply, Failure>> {
    let Value::Object(mut item) = item else {
        return None;
    };
    if let Some(Value::String(error)) = item.get("error") {
        return Some(Err(Failure::Refused(Refusal::new(error))));
    }
    match item.remove("result")? {
        Value::String(text) if text == OK => Some(Ok(Reply::Done)),
        result => reply(result).map(Ok),
    }
}

/// The one string that is not encoded, which no encoding gives: what a write answers, or perhaps a value.
const OK: &str = "OK";

fn reply(result: Value) -> Option<Reply> {
    Some(match result {
        Value::Null => Reply::Nil,
        Value::Number(number) => Reply::Int(number.as_i64()?),
        Value::String(text) if text == OK => Reply::Data(OK.into()),
        Value::String(text) => Reply::Data(BASE64_STANDARD.decode(text).ok()?.into()),
        Value::Array(items) => Reply::List(items.into_iter().map(reply).collect::<Option<_>>()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{FullKey, Ttl};

    fn json(text: Vec<u8>) -> Vec<String> {
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn text_is_sent_as_it_is() {
        let set = Command::set(FullKey("", "k\"ü"), b"v\0\n", Ttl::Millis(7), None);
        assert_eq!(json(command(&set)), ["SET", "k\"ü", "v\0\n", "PX", "7"]);
    }

    #[test]
    fn bytes_are_sent_as_a_script_with_what_stands_for_them() {
        let value = [0, 127, 128, 194, 255];
        let set = Command::set(FullKey("p", "ü"), &value, Ttl::Keep, None);
        let words = json(command(&set));
        assert_eq!(words[0], "EVAL");
        assert!(words[1].starts_with(BYTES) && words[1].ends_with("(unpack(ARGV))"));
        let stand = "\u{100}\u{7f}\u{80}\u{c2}\u{ff}";
        let key = as_text("pü".as_bytes());
        assert_eq!(words[2..], ["1", "pü", "SET", &key, stand, "KEEPTTL"]);
        let items = [(FullKey("", "a"), &value[..]), (FullKey("", "b"), b"w")];
        let words = json(command(&Command::set_many(items.into_iter())));
        assert_eq!(words[2..], ["2", "a", "b", "MSET", "a", stand, "b", "w"]);
        let set = Command::script(&crate::script::SET_IF, FullKey("", "k"));
        let words = json(command(&set.word("sha").word(value)));
        assert!(words[1].ends_with(crate::script::SET_IF.text));
        assert_eq!(words[2..], ["1", "k", "sha", stand]);
    }

    #[test]
    fn nothing_becomes_more_than_twice_as_long() {
        for value in [
            vec![7; 100_000],
            vec![255; 100_000],
            "€".repeat(50_000).into_bytes(),
        ] {
            let set = Command::set(FullKey("", "k"), &value, Ttl::Never, None);
            let json = command(&set);
            assert!(json.len() < 2 * value.len() + 1024, "{}", json.len());
        }
    }

    #[test]
    fn answers_are_read() {
        let one = |text: &str| answer(text.as_bytes(), false);
        assert!(matches!(one(r#"{"result":null}"#), Ok(Reply::Nil)));
        assert!(matches!(one(r#"{"result":-1}"#), Ok(Reply::Int(-1))));
        assert!(matches!(one(r#"{"result":"OK"}"#), Ok(Reply::Done)));
        assert!(matches!(one(r#"{"result":""}"#), Ok(Reply::Data(data)) if data.is_empty()));
        assert!(
            matches!(one(r#"{"result":"gP8="}"#), Ok(Reply::Data(data)) if data[..] == [128, 255])
        );
        assert!(
            matches!(one(r#"{"result":["AA==",1,null]}"#), Ok(Reply::List(items)) if items.len() == 3)
        );
        assert!(
            matches!(one(r#"{"error":"WRONGTYPE x"}"#), Err(failure) if failure.code() == "WRONGTYPE")
        );
        for strange in [
            "",
            "{}",
            "[]",
            r#"{"result":1.5}"#,
            r#"{"result":"!"}"#,
            "<html>",
        ] {
            let failure = answer(strange.as_bytes(), true).unwrap_err();
            assert!(
                kvstore_core::Error::from(failure).outcome_unknown(),
                "{strange}"
            );
        }
        let several = answers(br#"[{"result":1},{"error":"ERR x"}]"#, 2, true).unwrap();
        assert!(several[0].is_ok() && several[1].is_err());
        assert!(answers(br#"[{"result":1}]"#, 2, true).is_err());
        let refused = answers(br#"{"error":"WRONGPASS x"}"#, 2, true).unwrap_err();
        assert_eq!(refused.code(), "WRONGPASS");
        let list = one(r#"{"result":["OK","T0s="]}"#).unwrap();
        let Reply::List(items) = list else {
            panic!("{list:?}")
        };
        assert!(
            items
                .iter()
                .all(|item| matches!(item, Reply::Data(data) if data == "OK"))
        );
    }
}
