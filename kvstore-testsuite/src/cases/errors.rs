//! Errors and panics: E1 and E5.

use std::error::Error as _;
use std::fmt::Debug;
use std::time::Duration;

use kvstore_core::{
    Bytes, Condition, DeleteRequest, Entry, Error, ErrorKind, Format, GetRequest, Input, Key,
    KeysRequest, SetOptions, SetRequest, TouchRequest,
};

use crate::Fixture;
use crate::check::{Checked, ensure, ensure_eq, fails};
use crate::generate::{generated, key, odd_keys};
use crate::lease::HOUR;

const SECRET_KEY: &str = "token-4f2a7c";
const SECRET_VALUE: &str = "password-9d1e3b";
const SECRETS: [&str; 3] = [SECRET_KEY, SECRET_VALUE, "9d1e3b"];

/// Checks that nothing which a program may log shows a secret.
fn tells_nothing(printed: &str, what: &str) -> Checked {
    let told = SECRETS.iter().any(|secret| printed.contains(secret));
    ensure!(!told, "{what} prints a key or a value: {printed}");
    Ok(())
}

/// Checks what an error says, and what it does not.
fn check_error<T>(
    f: &Fixture,
    result: Result<T, impl Into<Error>>,
    kind: ErrorKind,
    operation: &str,
    key: Option<&str>,
) -> Checked {
    let what = format!("the error {kind:?} of {operation}");
    let error = fails(result, kind, operation)?;
    ensure_eq!(
        error.operation(),
        Some(operation),
        "the operation of {what}"
    );
    ensure_eq!(
        error.provider(),
        Some(f.capabilities().provider),
        "the provider of {what}"
    );
    ensure_eq!(error.key(), key, "the key of {what}");
    let shown = error.to_string();
    ensure!(
        shown.contains(operation),
        "{what} does not name the operation: {shown}"
    );
    ensure!(
        shown.contains(f.capabilities().provider),
        "{what} does not name the provider: {shown}"
    );
    tells_nothing(&format!("{error} {error:?} {error:#?}"), &what)?;
    let mut source = error.source();
    while let Some(error) = source {
        tells_nothing(
            &format!("{error} {error:?}"),
            &format!("a source of {what}"),
        )?;
        source = error.source();
    }
    Ok(())
}

pub(crate) async fn e1_errors_name_what_failed_and_print_no_secret(f: Fixture) -> Checked {
    let (store, key, capabilities) = (f.text(), SECRET_KEY, f.capabilities());
    let mut bytes = SECRET_VALUE.as_bytes().to_vec();
    bytes.push(0xff);
    f.bytes().set(key, bytes).await?;
    let number = f.model::<u64>();
    check_error(
        &f,
        number.get(key).await,
        ErrorKind::Decode,
        "get",
        Some(key),
    )?;
    // Vault keeps bytes as base64, which is text.
    if let Err(error) = store.get(key).await {
        check_error(&f, Err::<(), _>(error), ErrorKind::Decode, "get", Some(key))?;
    }
    check_error(
        &f,
        number.get_entry(key).await,
        ErrorKind::Decode,
        "get_entry",
        Some(key),
    )?;
    check_error(
        &f,
        number.get_many([key, key]).await,
        ErrorKind::Decode,
        "get_many",
        Some(key),
    )?;
    let batch = number.get_many([key]).await;
    tells_nothing(
        &format!("{:?}", batch.map_err(|batch| format!("{batch} {batch:?}"))),
        "a BatchError",
    )?;
    for stored in [
        format!("\"{SECRET_VALUE}\""),
        format!("{{\"{SECRET_VALUE}\":1}}"),
        SECRET_VALUE.to_owned(),
    ] {
        store.set(key, stored).await?;
        check_error(
            &f,
            number.get(key).await,
            ErrorKind::Decode,
            "get",
            Some(key),
        )?;
        check_error(
            &f,
            f.model::<Vec<u8>>().get(key).await,
            ErrorKind::Decode,
            "get",
            Some(key),
        )?;
    }
    // As JSON, where the server tells types apart.
    f.model().set(key, vec![SECRET_VALUE.to_owned()]).await?;
    check_error(
        &f,
        number.get(key).await,
        ErrorKind::Decode,
        "get",
        Some(key),
    )?;
    check_error(
        &f,
        f.json().get(key).await,
        ErrorKind::Decode,
        "get",
        Some(key),
    )?;

    let limit = capabilities.max_key_len;
    if limit < 1 << 20 {
        let long = key.repeat(limit / key.len() + 1);
        check_error(
            &f,
            store.set(&long, SECRET_VALUE).await,
            ErrorKind::InvalidKey,
            "set",
            Some(&long),
        )?;
        check_error(
            &f,
            store.delete(&long).await,
            ErrorKind::InvalidKey,
            "delete",
            Some(&long),
        )?;
        check_error(
            &f,
            store.has(&long).await,
            ErrorKind::InvalidKey,
            "has",
            Some(&long),
        )?;
        check_error(
            &f,
            store.delete_many([&long]).await,
            ErrorKind::InvalidKey,
            "delete_many",
            Some(&long),
        )?;
    }
    check_error(
        &f,
        f.model::<Option<String>>().set(key, None).await,
        ErrorKind::InvalidValue,
        "set",
        Some(key),
    )?;
    let nan = (SECRET_VALUE.to_owned(), f64::NAN);
    check_error(
        &f,
        f.model().set(key, nan).await,
        ErrorKind::InvalidValue,
        "set",
        Some(key),
    )?;
    let forever = SetOptions::new().ttl(Duration::MAX);
    let many = store.set_many([(key, SECRET_VALUE)], forever).await;
    check_error(&f, many, ErrorKind::InvalidTtl, "set_many", Some(key))?;
    let name = format!("{key}:{SECRET_VALUE}");
    check_error(
        &f,
        store.namespace(&name),
        ErrorKind::InvalidKey,
        "namespace",
        None,
    )?;
    // What goes wrong inside names the key as the caller did.
    let inner = number.namespace("inner")?;
    f.bytes().set(&format!("inner:{key}"), vec![0xff]).await?;
    check_error(
        &f,
        inner.get(key).await,
        ErrorKind::Decode,
        "get",
        Some(key),
    )
}

pub(crate) async fn e1_debug_prints_no_secret(f: Fixture) -> Checked {
    let store = f.text().namespace(SECRET_KEY)?;
    store.set(SECRET_KEY, SECRET_VALUE).await?;
    let quiet =
        |printed: &dyn Debug, what| tells_nothing(&format!("{printed:?} {printed:#?}"), what);
    quiet(&store, "Debug of the store")?;
    let entry = store.get_entry(SECRET_KEY).await?;
    ensure!(entry.is_some(), "get_entry misses a key that is there");
    quiet(&entry, "Debug of the entry")?;
    if let Some(version) = entry.and_then(|entry| entry.version) {
        tells_nothing(&format!("{version} {version:?}"), "a version")?;
    }
    quiet(&store.keys(SECRET_KEY), "Debug of a listing")?;
    quiet(&f, "Debug of the fixture")?;
    quiet(f.capabilities(), "Debug of the capabilities")?;
    quiet(&store.ping().await?, "what ping says")?;
    let (key, value) = (
        Key::new(SECRET_KEY)?,
        Bytes::from_static(SECRET_VALUE.as_bytes()),
    );
    quiet(
        &SetRequest::new(key, Format::Text, value.clone()),
        "Debug of a request",
    )?;
    quiet(&GetRequest::new(key, Format::Text), "Debug of a request")?;
    quiet(&DeleteRequest::new(key), "Debug of a request")?;
    quiet(&KeysRequest::new(SECRET_KEY), "Debug of a request")?;
    quiet(
        &TouchRequest::new(key, Format::Text, kvstore_core::Expiry::Never),
        "Debug of a request",
    )?;
    quiet(&Entry::new(value.clone()), "Debug of an entry")?;
    quiet(&Input::from(value), "Debug of an input")
}

pub(crate) async fn e5_no_input_makes_a_panic(f: Fixture) -> Checked {
    // A panic fails the case; whether these succeed is for others to say.
    let (store, capabilities) = (f.text(), f.capabilities().clone());
    let mut odd = odd_keys();
    odd.extend(generated(50, key()));
    odd.extend([
        String::new(),
        "x".repeat(300),
        "é".repeat(5000),
        "/".repeat(5000),
        "\0".repeat(70_000),
    ]);
    for text in &odd {
        if capabilities.keys.is_some() && text.len() > 1 {
            drop(store.keys(text).next().await);
        }
        if let Ok(namespace) = store.namespace(text) {
            drop(namespace.set(text, text).await);
            drop(namespace.keys(text).next().await);
        }
        if let (Ok(version), Some(_)) = (text.parse(), capabilities.versions) {
            let condition = Condition::Version(version);
            drop(
                store
                    .set_if("key", text, condition, SetOptions::new())
                    .await,
            );
        }
        drop(store.get_many([text, "key", text]).await);
    }
    for ttl in [
        Duration::ZERO,
        Duration::from_nanos(1),
        HOUR * 24 * 36_525,
        Duration::MAX,
    ] {
        drop(
            store
                .set_with("key", "value", SetOptions::new().ttl(ttl))
                .await,
        );
        drop(store.touch("key", ttl).await);
    }
    store.set("key", "value").await?;
    let found = store.get("key").await?;
    ensure_eq!(found.as_deref(), Some("value"), "a key set after all that");
    Ok(())
}
