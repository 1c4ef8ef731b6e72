//! Serde models: V1.

use std::collections::BTreeMap;
use std::fmt::Debug;

use kvstore_core::{Condition, ErrorKind, SetOptions};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::values::{come_back, is_ordinary, numbers};
use crate::Fixture;
use crate::check::{Checked, ensure_eq, fails, items_fail};
use crate::generate::{self, generated};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(u64),
    Tuple(i8, String),
    Struct { side: Option<f64>, name: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Whole(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Members(BTreeMap<String, Self>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Empty,
    Full { count: u64, inner: Box<Flattened> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Flattened {
    id: u64,
    none: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Any values of one type; equal is what `Debug` prints alike, which for floats is to the bit.
async fn models<T>(f: &Fixture, values: impl IntoIterator<Item = T>) -> Checked
where
    T: Clone + Debug + Serialize + DeserializeOwned + 'static,
{
    let values: Vec<T> = values.into_iter().collect();
    let same = |a: &T, b: &T| format!("{a:?}") == format!("{b:?}");
    let may_be_refused =
        |value: &T| serde_json::to_value(value).is_ok_and(|value| !is_ordinary(&value));
    come_back(&f.model(), &values, same, may_be_refused).await
}

pub(crate) async fn v1_any_model_comes_back(f: Fixture) -> Checked {
    models(&f, [true, false]).await?;
    models(&f, ["", "text", "null", "\0", "{}"].map(str::to_owned)).await?;
    models(&f, ['a', '\0', '🦀']).await?;
    models(&f, [vec![], vec![None, Some(0)], vec![Some(-1); 100]]).await?;
    models(&f, [Some(1), Some(0)]).await?;
    models(&f, [(1u8, "a".to_owned(), [1.5, -0.0])]).await?;
    models(
        &f,
        [
            Value::from("text"),
            json!([null]),
            json!(false),
            json!({"a": null}),
        ],
    )
    .await?;
    let text = "text".to_owned();
    let shapes = [
        Shape::Unit,
        Shape::Newtype(7),
        Shape::Tuple(-1, text.clone()),
        Shape::Struct {
            side: Some(0.1),
            name: String::new(),
        },
        Shape::Struct {
            side: None,
            name: text.clone(),
        },
    ];
    models(&f, shapes).await?;
    let leaves = || {
        vec![
            Untagged::Whole(7),
            Untagged::Negative(-7),
            Untagged::Float(0.5),
            Untagged::Text(String::new()),
        ]
    };
    let nested = Untagged::List(leaves());
    models(
        &f,
        leaves().into_iter().chain([
            nested.clone(),
            Untagged::Members([(text.clone(), nested)].into()),
        ]),
    )
    .await?;
    let rest = [
        ("more".to_owned(), json!([1, null, 0.5])),
        (text.clone(), json!({})),
    ];
    let flattened = Flattened {
        id: 7,
        none: None,
        rest: rest.into(),
    };
    models(&f, [flattened.clone()]).await?;
    models(
        &f,
        [
            Tagged::Empty,
            Tagged::Full {
                count: 1,
                inner: Box::new(flattened),
            },
        ],
    )
    .await?;
    models(&f, [BTreeMap::from([(1, "one".to_owned()), (-1, text)])]).await?;
    models(&f, generated(100, generate::object())).await
}

pub(crate) async fn v1_numbers_are_exact(f: Fixture) -> Checked {
    let edges = [
        0,
        1,
        u64::MAX,
        u64::MAX - 1,
        1 << 63,
        (1 << 63) - 1,
        (1 << 53) + 1,
    ];
    models(&f, edges.into_iter().chain(generated(100, any::<u64>()))).await?;
    let edges = [0, -1, i64::MIN, i64::MIN + 1, i64::MAX, -(1 << 53) - 1];
    models(&f, edges.into_iter().chain(generated(100, any::<i64>()))).await?;
    models(&f, generated(200, generate::float())).await?;
    models(
        &f,
        [0.0, -0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1, 1e16],
    )
    .await?;
    models(&f, [0.1f32, -0.0, f32::MAX, f32::MIN_POSITIVE]).await?;
    models(&f, numbers()).await
}

pub(crate) async fn v1_what_is_not_exact_is_invalid(f: Fixture) -> Checked {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused(&f, &1.5, &float).await?;
        refused(&f, &vec![Some(1.5)], &vec![None, Some(1.5), Some(float)]).await?;
    }
    for float in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused(&f, &Some(1.5), &Some(float)).await?;
    }
    for integer in [u128::MAX, u128::from(u64::MAX) + 1] {
        let store = f.model::<u128>();
        store.set("integer", 7).await?;
        match store.set("integer", integer).await {
            Ok(()) => ensure_eq!(
                store.get("integer").await?,
                Some(integer),
                "an integer beyond 64 bits"
            ),
            refused => {
                fails(
                    refused,
                    ErrorKind::InvalidValue,
                    "an integer beyond 64 bits",
                )?;
                ensure_eq!(
                    store.get("integer").await?,
                    Some(7),
                    "the value after one beyond 64 bits was refused"
                );
            }
        }
    }
    Ok(())
}

/// Checks that each way to set a value refuses it, and that the old value stays.
pub(super) async fn refused<T>(f: &Fixture, old: &T, bad: &T) -> Checked
where
    T: Clone + Debug + Serialize + DeserializeOwned + 'static,
{
    let (store, invalid) = (f.model::<T>(), ErrorKind::InvalidValue);
    let what = format!("the value {bad:?}");
    store
        .set_many([("key", old), ("good", old)], SetOptions::new())
        .await?;
    let (counted, faults) = f.counted();
    let refusing = counted.model::<T>();
    fails(refusing.set("key", bad).await, invalid, &what)?;
    if f.capabilities().if_present {
        let set = refusing.set_if("key", bad, Condition::Present, SetOptions::new());
        fails(set.await, invalid, &what)?;
    }
    ensure_eq!(
        faults.calls(),
        0,
        "the number of calls that the provider got, with {what}"
    );
    let items = [("good", old), ("key", bad), ("other", old)];
    items_fail(
        store.set_many(items, SetOptions::new()).await,
        &[(1, "key", invalid)],
        &what,
    )?;
    let found = store.get_many(["key", "good", "other"]).await?;
    let expected = vec![Some(old); 3];
    ensure_eq!(
        format!("{found:?}"),
        format!("{expected:?}"),
        "the old value, and those beside it, after {what} was refused"
    );
    store.delete("other").await?;
    Ok(())
}

pub(crate) async fn v1_a_hundred_levels_work_and_more_are_invalid(f: Fixture) -> Checked {
    let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    let objects = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"a": inner}));
    models(&f, [nested(99), nested(100), objects(100)]).await?;
    for deeper in [nested(101), objects(101), nested(500)] {
        refused(&f, &nested(100), &deeper).await?;
    }
    let (json, object) = (f.json(), |levels| {
        objects(levels).as_object().cloned().unwrap_or_default()
    });
    json.set("object", object(100)).await?;
    fails(
        json.set("object", object(101)).await,
        ErrorKind::InvalidValue,
        "an object nested 101 deep",
    )?;
    ensure_eq!(
        json.get("object").await?,
        Some(object(100)),
        "the object after a deeper one was refused"
    );
    Ok(())
}
