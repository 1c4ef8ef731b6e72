//! What is asked of the server beside keys: whether it is there, lets us in and gives us our rights; what it
//! is; and the index by which it removes what has expired.

use std::net::IpAddr;
use std::sync::Arc;

use kvstore_core::{Error, ErrorKind, Result, ServerInfo};
use mongodb::bson::{Bson, Document, rawdoc};

use crate::batch::write_concern_error;
use crate::client::Client;
use crate::command::Fields;
use crate::options;

/// The wire version of MongoDB 5.0.
const OLDEST: i32 = 13;

/// Checks address, credentials, rights and write concern, by commands that change nothing.
pub(crate) async fn check(client: &Arc<Client>) -> Result<()> {
    client
        .read(
            client.find_one("kvstore-check", Fields::NoValue),
            client.deadline(),
        )
        .await?;
    let hello = client.ask(rawdoc! { "hello": 1 }).await?;
    if hello
        .get_i32("maxWireVersion")
        .is_ok_and(|version| version < OLDEST)
    {
        let message =
            "the server is older than MongoDB 5.0, which takes no `$` in the names of members";
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    // An upsert that fails before it inserts: it needs the rights to insert and to update.
    let upsert = rawdoc! {
        "update": &client.config.collection[..],
        "updates": [{ "q": { "_id": "kvstore-check" }, "u": [{ "$replaceWith": { "$size": "$_id" } }], "upsert": true }],
    };
    client.ask(upsert).await?;
    let delete = rawdoc! {
        "delete": &client.config.collection[..],
        "deletes": [{ "q": { "_id": { "$in": [] } }, "limit": 1 }],
        "writeConcern": client.concerns.write.clone(),
    };
    let answer = client.ask(delete).await?;
    write_concern_error(&answer).map_or(Ok(()), Err)
}

/// Makes the index by which the server removes what has expired, from a minute after that.
///
/// It is a matter of room alone, since nothing that has expired is ever read. So it may fail: for want of the
/// right, because another index is in its way, or because a large collection takes its time, which it then
/// takes without us. `ping` tells.
pub(crate) async fn make_index(client: &Arc<Client>) -> Result<()> {
    let command = rawdoc! {
        "createIndexes": &client.config.collection[..],
        "indexes": [{
            "key": { "expires_at": 1 },
            "name": "kvstore_expires_at",
            "expireAfterSeconds": 0,
            // What does not expire takes no room in it, and no time.
            "partialFilterExpression": { "expires_at": { "$type": "date" } },
        }],
    };
    client.ask(command).await.map(drop)
}

/// Drops the collection, if it is there.
pub(crate) async fn drop_collection(client: &Arc<Client>) -> Result<()> {
    let name = &client.config.collection[..];
    // Servers before version 7 refuse to drop what is not there, as all refuse to list its indexes.
    match client.ask(rawdoc! { "listIndexes": name }).await {
        Err(error) if error.kind() == ErrorKind::Other => Ok(()),
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => client.ask(rawdoc! { "drop": name }).await.map(drop),
    }
}

/// Whether there is an index by which the server removes what has expired; `None` when we may not look.
async fn has_index(client: &Arc<Client>) -> Result<Option<bool>> {
    let answer = match client
        .ask(rawdoc! { "listIndexes": &client.config.collection[..] })
        .await
    {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        // There is no collection yet.
        Err(error) if error.kind() == ErrorKind::Other => return Ok(Some(false)),
        Err(error) => return Err(error),
    };
    let indexes = answer
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let expires = |index: &Bson| {
        let index = index.as_document();
        index.is_some_and(|index| {
            let key = index.get_document("key");
            key.is_ok_and(|key| key.keys().eq(["expires_at"]))
                && index.contains_key("expireAfterSeconds")
        })
    };
    Ok(Some(
        indexes.is_ok_and(|indexes| indexes.iter().any(expires)),
    ))
}

pub(crate) async fn ping(client: &Arc<Client>) -> Result<ServerInfo> {
    // Anybody may ask the next two, so they do not show that keys can be read.
    client
        .read(
            client.find_one("kvstore-ping", Fields::NoValue),
            client.deadline(),
        )
        .await?;
    let build = client.ask(rawdoc! { "buildInfo": 1 }).await?;
    let hello = client.ask(rawdoc! { "hello": 1 }).await?;
    let mut info = ServerInfo::new("mongodb");
    if let Ok(version) = build.get_str("version") {
        info = info.with_version(version);
    }
    let index = has_index(client).await?;
    let warnings = warnings(client, &hello, index);
    Ok(warnings.into_iter().fold(info, ServerInfo::with_warning))
}

fn warnings(client: &Client, hello: &Document, index: Option<bool>) -> Vec<String> {
    let mut warnings = Vec::new();
    let (tls, checked) = options::tls(&client.config);
    let concerns = &client.concerns;
    let is_standalone =
        !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid");
    if is_standalone && !concerns.journal {
        warnings.push(
            "a standalone server: it acknowledges writes up to 100 ms before they are on disk, unless `journal=true` is \
             set, and nothing takes over when it fails",
        );
    }
    if !concerns.majority {
        warnings.push(
            "`w` is not `majority`: an acknowledged write may be lost when the primary fails",
        );
    }
    if !tls && !client.config.hosts.split(',').all(is_local) {
        warnings.push("no TLS: values and keys cross the network in the clear");
    }
    if tls && !checked {
        warnings.push("the server's certificate is not checked: whoever answers is believed");
    }
    match index {
        Some(true) => {}
        Some(false) => warnings.push(
            "no TTL index on `expires_at`: what has expired is not read any more, but it is not removed either",
        ),
        None => warnings.push(
            "whether a TTL index on `expires_at` removes what has expired cannot be seen: the right to list indexes is \
             missing",
        ),
    }
    warnings.into_iter().map(str::to_owned).collect()
}

/// Whether an address of the configuration is on this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(host) => host.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.ends_with(".sock") || name == "localhost" || name.parse().is_ok_and(is_loopback)
}
