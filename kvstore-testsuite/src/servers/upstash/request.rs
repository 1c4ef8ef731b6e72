//! What a request of Upstash's REST API asks.

use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::commands::Command;

/// What a request asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Single(Command),
    Pipeline(Vec<Command>),
    Transaction(Vec<Command>),
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Base64,
    Resp2,
}

impl Request {
    /// Reads a request; the error is what Upstash says to one that it cannot read.
    pub(super) fn read(method: &Method, uri: &Uri, body: &[u8]) -> Result<Self, String> {
        // Only these carry something; the others came without, or with what is not looked at.
        let has_body = [Method::POST, Method::PUT].contains(method);
        let body = if has_body { body } else { &[] };
        match uri.path() {
            "/" => Ok(Self::Single(from_json(body)?)),
            "/pipeline" => Ok(Self::Pipeline(batch(body, "pipeline")?)),
            "/multi-exec" => Ok(Self::Transaction(batch(body, "transaction")?)),
            path => {
                let parts = path.strip_prefix('/').unwrap_or(path).split('/');
                let mut command: Command = parts
                    .map(|part| percent_decode_str(part).collect())
                    .collect();
                if !body.is_empty() {
                    command.push(body.to_owned());
                }
                let options = query(uri).into_iter().filter(|(name, _)| name != b"_token");
                for (name, value) in options {
                    command.push(name);
                    command.extend(value);
                }
                Ok(Self::Single(command))
            }
        }
    }
}

impl Form {
    /// The form that the headers ask for; the error is what Upstash says to what it does not know.
    pub(super) fn read(uri: &Uri, headers: &HeaderMap) -> Result<Self, String> {
        let value = |name: &str| headers.get(name).map(|value| value.as_bytes());
        let resp2 = match value("upstash-response-format") {
            _ if uri.path() == "/multi-exec" => false,
            None | Some(b"json") => false,
            Some(b"resp2") => true,
            Some(_) => return Err("ERR unsupported response format".to_owned()),
        };
        match value("upstash-encoding") {
            None if resp2 => Ok(Self::Resp2),
            None => Ok(Self::Json),
            Some(b"base64") if resp2 => Err("ERR base64 is not for the format resp2".to_owned()),
            Some(b"base64") => Ok(Self::Base64),
            Some(_) => Err("ERR unsupported response encoding".to_owned()),
        }
    }
}

/// The token of a request: that of the header, if there is one, else that of the query.
pub(super) fn token(uri: &Uri, headers: &HeaderMap) -> Option<Vec<u8>> {
    match headers.get(http::header::AUTHORIZATION) {
        Some(value) => value
            .as_bytes()
            .strip_prefix(b"Bearer ")
            .map(<[u8]>::to_owned),
        None => {
            query(uri)
                .into_iter()
                .find(|(name, _)| name == b"_token")?
                .1
        }
    }
}

/// The names of a query with their values, in order, as a form has them.
fn query(uri: &Uri) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).collect();
    let pair = |piece: &str| match piece.split_once('=') {
        Some((name, value)) => (decode(name), Some(decode(value))),
        None => (decode(piece), None),
    };
    let pieces = uri.query().unwrap_or_default().split('&');
    pieces.filter(|piece| !piece.is_empty()).map(pair).collect()
}

fn batch(body: &[u8], name: &str) -> Result<Vec<Command>, String> {
    let failed = || format!("ERR failed to parse {name} request");
    let commands: Vec<Value> = serde_json::from_slice(body).map_err(|_| failed())?;
    if commands.is_empty() {
        return Err(format!("ERR empty {name} request"));
    }
    let words = |command: Value| match command {
        Value::Array(words) => words.into_iter().map(word).collect(),
        _ => Err(failed()),
    };
    commands.into_iter().map(words).collect()
}

fn from_json(body: &[u8]) -> Result<Command, String> {
    let words: Vec<Value> =
        serde_json::from_slice(body).map_err(|_| "ERR failed to parse command".to_owned())?;
    words.into_iter().map(word).collect()
}

fn word(value: Value) -> Result<Vec<u8>, String> {
    let refuse = |value: &Value| Err(format!("ERR unsupported arg type: {value}"));
    match value {
        Value::String(text) => Ok(text.into_bytes()),
        // Not by its own text, which says 1.0 or 1e3 as it likes, by the features of serde_json.
        Value::Number(ref number) => {
            let integer = number.as_i64().map(|n| n.to_string());
            let integer = integer.or_else(|| number.as_u64().map(|n| n.to_string()));
            match integer.or_else(|| {
                number
                    .as_f64()
                    .filter(|n| n.is_finite())
                    .map(|n| n.to_string())
            }) {
                Some(text) => Ok(text.into_bytes()),
                None => refuse(&value),
            }
        }
        _ => refuse(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, uri: &str, body: &[u8]) -> Result<Request, String> {
        Request::read(&method, &uri.parse().unwrap(), body)
    }

    fn command(words: &[&[u8]]) -> Command {
        words.iter().map(|word| word.to_vec()).collect()
    }

    fn single(words: &[&[u8]]) -> Result<Request, String> {
        Ok(Request::Single(command(words)))
    }

    #[test]
    fn a_path_is_a_command() {
        let set = single(&[b"set", b"foo", b"bar", b"EX", b"100"]);
        assert_eq!(read(Method::GET, "/set/foo/bar/EX/100", b""), set);
        assert_eq!(
            read(Method::GET, "/set/foo/bar?EX=100", b"not looked at"),
            set
        );
        assert_eq!(read(Method::POST, "/set/foo?_token=t&EX=100", b"bar"), set);
        assert_eq!(read(Method::PUT, "/set/foo?EX=100&_token=t", b"bar"), set);
        assert_eq!(
            read(Method::POST, "/set/a%2Fb%00%FF+?NX&PX=1%2b+", b"\0\xff&="),
            single(&[b"set", b"a/b\0\xff+", b"\0\xff&=", b"NX", b"PX", b"1+ "])
        );
        assert_eq!(
            read(Method::GET, "/set/../%2E%2E", b""),
            single(&[b"set", b"..", b".."])
        );
        assert_eq!(
            read(Method::GET, "/set/key/", b""),
            single(&[b"set", b"key", b""])
        );
        assert_eq!(read(Method::POST, "/info", b""), single(&[b"info"]));
    }

    #[test]
    fn a_body_is_a_command() {
        assert_eq!(
            read(
                Method::POST,
                "/",
                r#"["SET", "é\u0000", -1, 1.5, 18446744073709551615, 1e3]"#.as_bytes()
            ),
            single(&[
                b"SET",
                "é\0".as_bytes(),
                b"-1",
                b"1.5",
                b"18446744073709551615",
                b"1000"
            ])
        );
        assert_eq!(read(Method::POST, "/", b"[]"), single(&[]));
        for body in ["", "{}", "[", "7", "[\"\\ud800\"]"] {
            let refused = Err("ERR failed to parse command".to_owned());
            assert_eq!(read(Method::POST, "/", body.as_bytes()), refused, "{body}");
        }
        for body in ["[null]", "[true]", "[[\"GET\"]]", "[\"SET\", {}]"] {
            let refusal = read(Method::POST, "/", body.as_bytes()).unwrap_err();
            assert!(
                refusal.starts_with("ERR unsupported arg type: "),
                "{refusal}"
            );
        }
        assert!(read(Method::GET, "/", b"[\"PING\"]").is_err());
    }

    #[test]
    fn a_body_is_several_commands() {
        let both = || vec![command(&[b"GET", b"a"]), command(&[])];
        let body = br#"[["GET", "a"], []]"#;
        assert_eq!(
            read(Method::POST, "/pipeline", body),
            Ok(Request::Pipeline(both()))
        );
        assert_eq!(
            read(Method::POST, "/multi-exec", body),
            Ok(Request::Transaction(both()))
        );
        for (body, refusal) in [
            ("[]", "ERR empty pipeline request"),
            ("[\"GET\", \"a\"]", "ERR failed to parse pipeline request"),
            ("{}", "ERR failed to parse pipeline request"),
        ] {
            assert_eq!(
                read(Method::POST, "/pipeline", body.as_bytes()),
                Err(refusal.to_owned())
            );
        }
    }

    #[test]
    fn the_form_is_that_of_the_headers() {
        let form = |path: &str, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Form::read(&path.parse().unwrap(), &headers.collect()).ok()
        };
        let (format, encoding) = ("upstash-response-format", "upstash-encoding");
        assert_eq!(form("/", &[]), Some(Form::Json));
        assert_eq!(form("/", &[(format, "json")]), Some(Form::Json));
        assert_eq!(
            form("/", &[(format, "json"), (encoding, "base64")]),
            Some(Form::Base64)
        );
        assert_eq!(form("/get/a", &[(format, "resp2")]), Some(Form::Resp2));
        assert_eq!(form("/", &[(format, "resp2"), (encoding, "base64")]), None);
        assert_eq!(
            form("/multi-exec", &[(format, "resp2"), (encoding, "base64")]),
            Some(Form::Base64)
        );
        assert_eq!(form("/", &[(format, "resp3")]), None);
        assert_eq!(form("/", &[(encoding, "hex")]), None);
    }
}
