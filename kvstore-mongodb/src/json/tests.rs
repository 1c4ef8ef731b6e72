//! Conversion against another one, made of the trees of `serde_json` and `bson`.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawBson, RawBsonRef,
    RawDocument, Regex, Timestamp, doc,
};
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::{to_bson, to_json};
use crate::raw::Writer;

/// What the text is as BSON, read by the `bson` crate from a document.
fn stored(text: &str) -> Result<Bson, &'static str> {
    let payload = to_bson(text.as_bytes())?;
    let mut document = Writer::new(0);
    document.payload("value", payload.kind, &payload.bytes);
    let document = Document::try_from(document.finish()).expect("BSON was written");
    assert_eq!(document.len(), 1);
    Ok(document.get("value").expect("it has its name").clone())
}

fn json_of(value: Bson) -> Result<String, &'static str> {
    let value = RawBson::try_from(value).expect("it is BSON");
    to_json(value.as_raw_bson_ref()).map(|text| String::from_utf8(text).expect("JSON is UTF-8"))
}

/// The same by way of trees.
fn tree(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(tree).collect()),
        Value::Object(members) => Bson::Document(
            members
                .iter()
                .map(|(name, value)| (name.clone(), tree(value)))
                .collect(),
        ),
        Value::Number(number) => number_tree(number),
    }
}

fn number_tree(number: &Number) -> Bson {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(integer), _, _) => match i32::try_from(integer) {
            Ok(integer) => Bson::Int32(integer),
            Err(_) => Bson::Int64(integer),
        },
        (None, Some(integer), _) => Bson::Decimal128(
            integer
                .to_string()
                .parse()
                .expect("a decimal has 34 digits"),
        ),
        (None, None, float) => Bson::Double(float.expect("a number is one of the three")),
    }
}

fn any_number() -> impl Strategy<Value = Number> {
    let float = any::<f64>().prop_filter_map("JSON has finite floats", Number::from_f64);
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<i32>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        float,
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z.$\\\\\"é🦀\u{1}]{0,6}",
        prop::sample::select(vec![
            "$oid",
            "$date",
            "$numberLong",
            "$binary",
            "_id",
            "",
            "$",
            "."
        ])
        .prop_map(str::to_owned),
    ]
    .prop_map(|name| name.replace('\0', "0"))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any_number().prop_map(Value::Number),
        any::<String>().prop_map(Value::String),
        "[\u{0}-\u{20}\"\\\\/é\u{2028}🦀]{0,8}".prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array);
        let members = prop::collection::vec((any_name(), inner), 0..8);
        let members = members.prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![items, members]
    })
}

/// With `arbitrary_precision`, numbers are equal only if their texts are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let bits = |number: &Number| number.as_f64().map(f64::to_bits);
            a.is_f64() == b.is_f64()
                && (a.as_i64(), a.as_u64(), bits(a)) == (b.as_i64(), b.as_u64(), bits(b))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let equal = |(name, value): (&String, _)| b.get(name).is_some_and(|b| same(value, b));
            a.len() == b.len() && a.iter().all(equal)
        }
        _ => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn json_is_stored_as_by_way_of_trees_and_comes_back(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let bson = stored(&text).unwrap();
            prop_assert_eq!(&bson, &tree(&value), "{}", text);
            let back = json_of(bson).unwrap();
            let back: Value = serde_json::from_str(&back).unwrap();
            prop_assert!(same(&value, &back), "{} became {}", text, back);
        }
    }

    #[test]
    fn floats_are_exact(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let text = format!("{float:e}").replace('e', ".0e");
        let text = if text.matches('.').count() > 1 { format!("{float:e}") } else { text };
        let Bson::Double(stored) = stored(&text).unwrap() else {
            panic!("{text} is no float any more");
        };
        prop_assert_eq!(stored.to_bits(), bits);
        let back: f64 = json_of(Bson::Double(float)).unwrap().parse().unwrap();
        prop_assert_eq!(back.to_bits(), bits);
    }

    #[test]
    fn no_text_panics(text in any::<String>(), bytes in any::<Vec<u8>>(), json in any_json(), cut in any::<prop::sample::Index>()) {
        let json = json.to_string();
        let cut = cut.index(json.len());
        for text in [text.as_bytes(), &bytes, &json.as_bytes()[..cut], &json.as_bytes()[cut..]] {
            // Whatever is taken is what `serde_json` takes.
            let taken = to_bson(text).is_ok();
            let is_json = serde_json::from_slice::<Value>(text).is_ok();
            prop_assert_eq!(taken, is_json, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn no_bytes_of_a_server_panic(bytes in any::<Vec<u8>>(), json in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut damaged = to_bson(json!({ "value": json }).to_string().as_bytes()).unwrap().bytes;
        let at = at.index(damaged.len());
        damaged[at] = byte;
        for bytes in [&bytes, &damaged] {
            if let Ok(document) = RawDocument::from_bytes(bytes) {
                // Some JSON text or an error.
                let _ = to_json(document.into());
            }
        }
    }
}

#[test]
fn integers_stay_integers_and_floats_floats() {
    for (text, bson, back) in [
        ("0", Bson::Int32(0), "0"),
        ("-1", Bson::Int32(-1), "-1"),
        ("2147483647", Bson::Int32(i32::MAX), "2147483647"),
        ("2147483648", Bson::Int64(2_147_483_648), "2147483648"),
        (
            "9223372036854775807",
            Bson::Int64(i64::MAX),
            "9223372036854775807",
        ),
        (
            "-9223372036854775808",
            Bson::Int64(i64::MIN),
            "-9223372036854775808",
        ),
        ("1.0", Bson::Double(1.0), "1.0"),
        ("-0.0", Bson::Double(-0.0), "-0.0"),
        ("-0", Bson::Double(-0.0), "-0.0"),
        ("1e3", Bson::Double(1000.0), "1000.0"),
        ("1E+300", Bson::Double(1e300), "1e300"),
        ("5e-324", Bson::Double(5e-324), "5e-324"),
    ] {
        assert_eq!(stored(text), Ok(bson.clone()), "{text}");
        assert_eq!(json_of(bson).as_deref(), Ok(back), "{text}");
    }
    for integer in [i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX] {
        let bson = stored(&integer.to_string()).unwrap();
        let decimal: Decimal128 = integer.to_string().parse().unwrap();
        assert_eq!(bson, Bson::Decimal128(decimal));
        assert_eq!(json_of(bson).unwrap(), integer.to_string());
    }
}

#[test]
fn what_cannot_be_held_exactly_is_refused_and_not_shown() {
    for (text, part) in [
        ("18446744073709551616", "beyond 64 bits"),
        ("-9223372036854775809", "beyond 64 bits"),
        ("1e999", "float"),
        (r#"{"secret\u0000":1}"#, "NUL"),
        (&"[".repeat(101), "nested"),
    ] {
        let problem = stored(text).unwrap_err();
        assert!(
            problem.contains(part) && !problem.contains("secret"),
            "{text}: {problem}"
        );
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(stored(&deep(100)).is_ok());
    assert_eq!(
        stored(&deep(101)),
        Err("the value is nested more than 100 deep")
    );
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\t\"",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "--1",
        "nul",
        "nulll",
        "truee",
        "1 1",
        "[1]]",
        "NaN",
        "Infinity",
        "\u{feff}1",
        "{\"a\":1 \"b\":2}",
        "[1,,2]",
        "{,}",
        "1.e3",
        "0x1",
    ] {
        assert_eq!(stored(text), Err(super::write::NOT_JSON), "{text:?}");
    }
    assert!(to_bson(b"\"\xff\"").is_err());
}

#[test]
fn what_extended_json_would_change_is_data() {
    let data = json!({
        "$oid": "507f1f77bcf86cd799439011", "$date": {"$numberLong": "0"}, "$binary": {"base64": "", "subType": "00"},
        "nested": [{"$numberDecimal": "1"}, {"$undefined": true}],
        "": {"": ""}, "a.b": 1, "$": 2, ".": 3, "$set": {"$ref": "x"},
    });
    let bson = stored(&data.to_string()).unwrap();
    assert_eq!(bson, tree(&data));
    let back: Value = serde_json::from_str(&json_of(bson).unwrap()).unwrap();
    assert!(same(&back, &data), "{back}");
}

#[test]
fn types_that_json_lacks_come_in_their_usual_form() {
    let uuid = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: (0..16).collect(),
    };
    let bytes = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0xff, 0, 1],
    };
    for (value, text) in [
        (
            Bson::DateTime(DateTime::from_millis(0)),
            "\"1970-01-01T00:00:00Z\"",
        ),
        (
            Bson::DateTime(DateTime::from_millis(1_700_000_000_123)),
            "\"2023-11-14T22:13:20.123Z\"",
        ),
        (
            Bson::DateTime(DateTime::from_millis(253_402_300_799_999)),
            "\"9999-12-31T23:59:59.999Z\"",
        ),
        (
            Bson::DateTime(DateTime::from_millis(-62_135_596_800_000)),
            "\"0001-01-01T00:00:00Z\"",
        ),
        (
            Bson::ObjectId(ObjectId::from_bytes([0xab; 12])),
            "\"abababababababababababab\"",
        ),
        (
            Bson::Binary(uuid),
            "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"",
        ),
        (Bson::Binary(bytes), "\"/wAB\""),
        (Bson::Decimal128("1.50".parse().unwrap()), "\"1.50\""),
        (Bson::Decimal128("7".parse().unwrap()), "\"7\""),
        (
            Bson::Decimal128("-9223372036854775809".parse().unwrap()),
            "\"-9223372036854775809\"",
        ),
        (
            Bson::Decimal128("18446744073709551616".parse().unwrap()),
            "\"18446744073709551616\"",
        ),
        (Bson::Decimal128("NaN".parse().unwrap()), "\"NaN\""),
        (Bson::Int64(5), "5"),
    ] {
        assert_eq!(
            json_of(doc! { "a": [value] }.into()).unwrap(),
            format!("{{\"a\":[{text}]}}")
        );
    }
}

#[test]
fn types_without_a_json_form_are_an_error() {
    let legacy = Binary {
        subtype: BinarySubtype::UuidOld,
        bytes: vec![0; 16],
    };
    let short = Binary {
        subtype: BinarySubtype::Uuid,
        bytes: vec![0; 15],
    };
    let code = JavaScriptCodeWithScope {
        code: String::new(),
        scope: Document::new(),
    };
    for value in [
        Bson::Double(f64::NAN),
        Bson::Double(f64::INFINITY),
        Bson::Binary(legacy),
        Bson::Binary(short),
        Bson::Timestamp(Timestamp {
            time: 1,
            increment: 1,
        }),
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Undefined,
        Bson::Symbol("secret".to_owned()),
        Bson::JavaScriptCode("secret".to_owned()),
        Bson::JavaScriptCodeWithScope(code),
        Bson::DateTime(DateTime::MAX),
        Bson::DateTime(DateTime::MIN),
        Bson::DateTime(DateTime::from_millis(253_402_300_800_000)),
        Bson::DateTime(DateTime::from_millis(-62_135_596_800_001)),
        Bson::RegularExpression(Regex {
            pattern: mongodb::bson::raw::CString::try_from("secret").unwrap(),
            options: mongodb::bson::raw::CString::try_from("").unwrap(),
        }),
    ] {
        let problem = json_of(doc! { "a": value.clone() }.into()).unwrap_err();
        assert!(!problem.contains("secret"), "{value:?}: {problem}");
    }
    let mut deep = Writer::new(0).finish();
    for _ in 0..1000 {
        let mut outer = Writer::new(0);
        outer.written("a", &deep);
        deep = outer.finish();
    }
    let nested = to_json(RawBsonRef::Document(&deep));
    assert_eq!(nested, Err("it is nested too deep"));
}

/// Not what this crate's own codecs give, but any codec's text is taken.
#[test]
fn members_may_come_twice_and_numbers_may_be_long() {
    assert_eq!(
        stored("0.1000000000000000055511151231257827"),
        Ok(Bson::Double(0.1))
    );
    let _: Map<String, Value> =
        serde_json::from_str(&json_of(stored(r#"{"a":1,"a":2}"#).unwrap()).unwrap()).unwrap();
}
