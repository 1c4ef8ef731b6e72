//! The types of values, and what is the same value.

use clap::ValueEnum;
use kvstore_core::{BoxError, Bytes, Codec, Format, Input, ModelCodec};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// The type of a value. All are handled as bytes here, which it says how to check and to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Any bytes.
    Bytes,
    /// UTF-8 text.
    Text,
    /// Any JSON but null: objects, models.
    Json,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Bytes, Self::Text, Self::Json];

    /// Whether two values are the same. Members of JSON objects have no order, and JSON text has white space.
    pub(crate) fn same(self, a: &Bytes, b: &Bytes) -> bool {
        let same = |a, b| matches!((json(a), json(b)), (Ok(a), Ok(b)) if same_json(&a, &b));
        a == b || (self == Self::Json && same(a, b))
    }
}

impl Codec<Bytes> for Kind {
    fn format(&self) -> Format {
        match self {
            Self::Bytes => Format::Binary,
            Self::Text => Format::Text,
            Self::Json => Format::Json,
        }
    }

    fn encode(&self, value: Input<'_, Bytes>) -> Result<Bytes, BoxError> {
        let value = match value {
            Input::Borrowed(value) => value.clone(),
            Input::Owned(value) => value,
        };
        match self {
            Self::Bytes => Ok(value),
            Self::Text => text(value),
            Self::Json => compact(&value),
        }
    }

    fn decode(&self, stored: Bytes) -> Result<Bytes, BoxError> {
        match self {
            Self::Bytes => Ok(stored),
            Self::Text => text(stored),
            Self::Json => json(&stored).map(|_| stored),
        }
    }
}

fn text(value: Bytes) -> Result<Bytes, BoxError> {
    std::str::from_utf8(&value)?;
    Ok(value)
}

/// Reads JSON text; what is not exact, or null, is an error, which quotes nothing.
fn json(text: &Bytes) -> Result<Value, BoxError> {
    Codec::<Value>::decode(&ModelCodec, text.clone())
}

/// As `==`, but that 0.0 and -0.0 are two.
fn same_json(a: &Value, b: &Value) -> bool {
    let bits = |number: &Number| number.as_f64().map(f64::to_bits);
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b && bits(a) == bits(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, a)| b.get(name).is_some_and(|b| same_json(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

/// JSON text without white space, in one line.
pub(crate) fn compact(text: &Bytes) -> Result<Bytes, BoxError> {
    Codec::<Value>::encode(&ModelCodec, Input::Owned(json(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_whatever_its_order_and_white_space_and_other_types_are_their_bytes() {
        let (a, b) = (r#"{"a":[1,2.5],"b":{}}"#, "{\"b\": {},\n\"a\": [1, 2.5]}");
        let [a, b] = [a, b].map(|text| Bytes::from_static(text.as_bytes()));
        assert!(Kind::Json.same(&a, &b));
        assert!(!Kind::Text.same(&a, &b));
        let numbers = [
            "1",
            "1.0",
            "[1,2]",
            "[2,1]",
            "9007199254740993",
            "9007199254740992",
            "0.0",
            "-0.0",
            "[{\"a\":0.0}]",
            "[{\"a\":-0.0}]",
            "[1]",
            "[1,1]",
            "{\"a\":1}",
            "{\"a\":1,\"b\":1}",
        ];
        for pair in numbers.chunks(2) {
            let [a, b] = [pair[0], pair[1]].map(|text| Bytes::from(text.to_owned()));
            assert!(!Kind::Json.same(&a, &b), "{pair:?}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_refused_both_ways() {
        let bad: [(Kind, &[u8]); 6] = [
            (Kind::Text, b"\xff"),
            (Kind::Json, b""),
            (Kind::Json, b"null"),
            (Kind::Json, b"{secret}"),
            (Kind::Json, b"18446744073709551616"),
            (Kind::Json, b"{} {}"),
        ];
        for (kind, bytes) in bad {
            let bytes = Bytes::from_static(bytes);
            let encoding = kind.encode(Input::Borrowed(&bytes)).unwrap_err();
            let decoding = kind.decode(bytes).unwrap_err();
            assert!(!format!("{encoding} {decoding}").contains("secret"));
        }
        let deep = Bytes::from("[".repeat(101) + &"]".repeat(101));
        assert!(Kind::Json.encode(Input::Owned(deep)).is_err());
    }
}
