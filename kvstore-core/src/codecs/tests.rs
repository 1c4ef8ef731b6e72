use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Number, json};

use super::*;

fn encode<T: Serialize + DeserializeOwned>(value: T) -> Result<Bytes, BoxError> {
    ModelCodec.encode(Input::Owned(value))
}

fn decode<T: Serialize + DeserializeOwned>(text: &str) -> Result<T, BoxError> {
    ModelCodec.decode(Bytes::copy_from_slice(text.as_bytes()))
}

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + Clone + PartialEq + Debug>(value: &T, text: &str) {
    let stored = encode(value.clone()).unwrap();
    assert_eq!(str::from_utf8(&stored).unwrap(), text);
    assert_eq!(ModelCodec.decode(stored).ok().as_ref(), Some(value));
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => unreachable!("the test gives objects"),
    }
}

#[test]
fn models_are_any_json_but_null() {
    round_trip(&7_u8, "7");
    round_trip(&"text".to_owned(), "\"text\"");
    round_trip(&vec![1.5_f64, -0.0], "[1.5,-0.0]");
    round_trip(
        &(u64::MAX, i64::MIN),
        "[18446744073709551615,-9223372036854775808]",
    );
    round_trip(&Some(true), "true");
    round_trip(&vec![None, Some(1)], "[null,1]");
    for null in [encode(None::<u8>), encode(()), encode(Value::Null)] {
        assert!(
            null.unwrap_err()
                .to_string()
                .starts_with("null is not a value")
        );
    }
    for stored in ["null", " null\n"] {
        assert!(
            decode::<Option<u8>>(stored).is_err(),
            "nobody stores no value"
        );
    }
}

#[test]
fn names_that_serde_json_reads_as_something_else_are_refused_in_every_build() {
    for name in [
        "$serde_json::private::Number",
        "$serde_json::private::RawValue",
    ] {
        let value = json!({ "a": [{ name: "1" }] });
        let error = encode(value.clone()).unwrap_err().to_string();
        assert!(error.contains("choose another name"), "{error}");
        let sorted = object(value.clone());
        assert!(JsonCodec.encode(Input::Owned(sorted)).is_err());
        assert!(decode::<BTreeMap<String, Value>>(&value.to_string()).is_err());
        round_trip(&name.to_owned(), &format!("{name:?}"));
    }
}

#[test]
fn floats_that_are_not_finite_are_refused_wherever_they_are() {
    #[derive(Serialize, Deserialize)]
    enum Shape {
        Unit,
        Newtype(f32),
        Tuple(f32, Option<f64>),
        Struct { at: Vec<f64> },
    }
    let nan = f64::NAN;
    let refused = [
        encode(nan),
        encode(f32::INFINITY),
        encode(vec![1.0, f64::NEG_INFINITY]),
        encode((1, Some(nan))),
        encode(BTreeMap::from(
            [("a", nan)].map(|(name, value)| (name.to_owned(), value)),
        )),
        encode(Shape::Newtype(f32::NAN)),
        encode(Shape::Tuple(0.0, Some(nan))),
        encode(Shape::Struct { at: vec![nan] }),
        encode(vec![Some(nan), None]),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(
            error.to_string(),
            "a float is not finite; JSON has no NaN and no infinities"
        );
    }
    let fine = [
        encode(Shape::Unit),
        encode(Shape::Tuple(f32::MAX, None)),
        encode((f64::MIN_POSITIVE, None::<u8>, "NaN".to_owned())),
    ];
    assert!(fine.iter().all(Result::is_ok));
}

#[test]
fn integers_beyond_64_bits_are_refused_both_ways() {
    round_trip(&i128::from(u64::MAX), "18446744073709551615");
    round_trip(&i128::from(i64::MIN), "-9223372036854775808");
    for error in [
        encode(u128::from(u64::MAX) + 1),
        encode(i128::from(i64::MIN) - 1),
    ] {
        assert!(error.unwrap_err().to_string().contains("beyond 64 bits"));
    }
    for stored in ["18446744073709551616", "[-9223372036854775809]"] {
        let error = decode::<Value>(stored).unwrap_err();
        assert!(error.to_string().contains("beyond 64 bits"), "{stored}");
    }
}

#[test]
fn nesting_ends_at_100() {
    let nested = |depth: usize| {
        let mut value = json!(1);
        for level in 0..depth {
            value = if level % 2 == 0 {
                json!([value])
            } else {
                json!({ "a": value })
            };
        }
        value
    };
    let deepest = nested(100);
    let stored = encode(deepest.clone()).unwrap();
    assert_eq!(ModelCodec.decode(stored).ok(), Some(deepest));
    let error = encode(nested(101)).unwrap_err();
    assert_eq!(error.to_string(), "the value is nested more than 100 deep");
    let members = object(json!({ "a": nested(100) }));
    assert!(JsonCodec.encode(Input::Borrowed(&members)).is_err());
}

#[test]
fn objects_are_stored_in_one_form_whatever_features_are_on() {
    // Read from text, where `arbitrary_precision` keeps each digit and `preserve_order` the order.
    let text = r#"{"b":[1.0,{"z":1e5,"a":-0}],"a":1.10,"$set":null,"":{}}"#;
    let members: Map<String, Value> = serde_json::from_str(text).unwrap();
    let stored = JsonCodec.encode(Input::Borrowed(&members)).unwrap();
    let expected = r#"{"":{},"$set":null,"a":1.1,"b":[1.0,{"a":-0.0,"z":100000.0}]}"#;
    assert_eq!(str::from_utf8(&stored).unwrap(), expected);
    let read = JsonCodec.decode(stored.clone()).unwrap();
    assert_eq!(JsonCodec.encode(Input::Owned(read)).unwrap(), stored);
}

#[test]
fn untagged_and_flattened_fields_read_numbers_whatever_features_are_on() {
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    #[serde(untagged)]
    enum Amount {
        Count(u64),
        Debt(i64),
        Share(f64),
        Named(BTreeMap<String, Self>),
    }
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    #[serde(tag = "kind")]
    enum Event {
        Paid { amount: f64, times: Option<u32> },
    }
    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    struct Account {
        amounts: Vec<Amount>,
        event: Event,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    let account = Account {
        amounts: vec![
            Amount::Count(u64::MAX),
            Amount::Debt(-1),
            Amount::Share(0.5),
            Amount::Share(1.0),
            Amount::Named(BTreeMap::from([("a".to_owned(), Amount::Count(1))])),
        ],
        event: Event::Paid {
            amount: 1e300,
            times: Some(3),
        },
        rest: BTreeMap::from([("more".to_owned(), json!([1, 2.5, { "x": -3 }]))]),
    };
    let text = r#"{"amounts":[18446744073709551615,-1,0.5,1.0,{"a":1}],"event":{"kind":"Paid","amount":1e300,"times":3},"more":[1,2.5,{"x":-3}]}"#;
    let stored = encode(account.clone()).unwrap();
    let read = ModelCodec.decode(stored.clone());
    assert_eq!(
        read.ok(),
        Some(account),
        "{}",
        str::from_utf8(&stored).unwrap()
    );
    assert_eq!(
        decode::<Account>(text)
            .ok()
            .map(|read| read.amounts[3].clone()),
        Some(Amount::Share(1.0))
    );
}

#[test]
fn numbers_kept_as_text_are_exact_or_refused() {
    let as_text = size_of::<Number>() == size_of::<String>();
    for text in [
        "0.1000000000000000055511151231257827",
        "1e400",
        "123456789012345678901234567890",
    ] {
        // Without `arbitrary_precision` the parser has rounded the number or refused it before it gets here.
        if let Ok(number) = serde_json::from_str::<Number>(text) {
            let stored = JsonCodec.encode(Input::Owned(object(json!({ "a": number }))));
            assert_eq!(stored.is_err(), as_text, "{text}");
        }
    }
}

#[test]
fn errors_quote_nothing_that_was_stored() {
    #[derive(Serialize, Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Secret {
        number: u8,
    }
    #[derive(Serialize, Deserialize, Debug)]
    enum Kind {
        Known,
    }
    let cases = [
        (
            decode::<Secret>(r#"{"number":"hunter2"}"#).unwrap_err(),
            "invalid type, expected u8",
        ),
        (
            decode::<Secret>(r#"{"hunter2":1}"#).unwrap_err(),
            "unknown field",
        ),
        (
            decode::<Secret>("{}").unwrap_err(),
            "missing field `number`",
        ),
        (
            decode::<Kind>("\"hunter2\"").map(drop).unwrap_err(),
            "unknown variant, expected `Known`",
        ),
        (decode::<Secret>("hunter2").unwrap_err(), "not JSON"),
        (
            decode::<bool>("\"hunter2, expected hunter2\"").unwrap_err(),
            "expected a boolean",
        ),
        (
            decode::<std::net::IpAddr>("\"hunter2\"").unwrap_err(),
            "refused it",
        ),
        (
            TextCodec
                .decode(Bytes::from_static(b"hunter2\xff"))
                .unwrap_err(),
            "invalid utf-8",
        ),
    ];
    for (error, expected) in cases {
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(matches!(decode::<Kind>("\"Known\""), Ok(Kind::Known)));
}

#[test]
fn bytes_given_away_are_not_copied() {
    let bytes = Bytes::from(vec![7; 1000]);
    let at = bytes.as_ptr();
    let stored = BytesCodec.encode(Input::<Bytes>::from(&bytes)).unwrap();
    assert_eq!(stored.as_ptr(), at);
    let read: Bytes = BytesCodec.decode(stored).unwrap();
    assert_eq!(read.as_ptr(), at);
    let text = "x".repeat(1000);
    let at = text.as_ptr();
    let stored = TextCodec.encode(Input::from(text)).unwrap();
    assert_eq!(stored.as_ptr(), at);
    let read = TextCodec.decode(stored).unwrap();
    assert_eq!(read.as_ptr(), at);
    let bytes = vec![7; 1000];
    let at = bytes.as_ptr();
    assert_eq!(
        BytesCodec
            .encode(Input::<Vec<u8>>::Owned(bytes))
            .unwrap()
            .as_ptr(),
        at
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_filter_map("not finite", |bits| {
            Number::from_f64(f64::from_bits(bits)).map(Value::Number)
        }),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_comes_back(value in any_json()) {
        let members = object(json!({ "value": value }));
        let stored = JsonCodec.encode(Input::Borrowed(&members)).unwrap();
        prop_assert_eq!(JsonCodec.decode(stored).unwrap(), members);
    }

    #[test]
    fn any_float_comes_back(bits in any::<u64>(), small in any::<u32>()) {
        let (float, single) = (f64::from_bits(bits), f32::from_bits(small));
        if float.is_finite() && single.is_finite() {
            let (read, other): (f64, f32) = ModelCodec.decode(encode((float, single)).unwrap()).unwrap();
            prop_assert_eq!((read.to_bits(), other.to_bits()), (bits, small));
        }
    }
}
