//! The commands. Each does its work by `_id` in one atomic step. In expressions what is stored stands under `$literal`;
//! what has expired is judged by the clock of the server, `$$NOW`.

use std::sync::LazyLock;
use std::time::Duration;

use kvstore_core::{
    Condition, DeleteRequest, Error, ErrorKind, Expiry, Result, SetRequest, Version,
};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, rawdoc};

use crate::client::Client;
use crate::options::millis;
use crate::raw::Writer;
use crate::value::Encoded;

/// The key has not expired. An `expires_at` that is no date, or none, never does; and it is asked for, since a
/// missing field sorts below every date.
static LIVE: LazyLock<RawDocumentBuf> = LazyLock::new(|| {
    rawdoc! { "$or": [
        { "$ne": [{ "$type": "$expires_at" }, "date"] },
        { "$gt": ["$expires_at", "$$NOW"] },
    ] }
});

/// There is no document: what an upsert begins with has the `_id` alone.
static NEW: LazyLock<RawDocumentBuf> =
    LazyLock::new(|| rawdoc! { "$eq": ["$$ROOT", { "_id": "$_id" }] });

static ABSENT: LazyLock<RawDocumentBuf> =
    LazyLock::new(|| rawdoc! { "$or": [NEW.clone(), { "$not": [LIVE.clone()] }] });

static PRESENT: LazyLock<RawDocumentBuf> =
    LazyLock::new(|| rawdoc! { "$and": [{ "$not": [NEW.clone()] }, LIVE.clone()] });

/// Always an error, of one code, and never one that the server finds before it looks at the document: how an
/// update in a batch says that its condition does not hold. What a batch answers is a count otherwise.
static UNMET: LazyLock<RawDocumentBuf> = LazyLock::new(|| rawdoc! { "$size": "$_id" });

static KEPT_EXPIRY: LazyLock<RawDocumentBuf> =
    LazyLock::new(|| rawdoc! { "$cond": [LIVE.clone(), "$expires_at", "$$REMOVE"] });

/// What is read of a document: by name alone, such a query still takes the shortest way to an `_id`.
static FOUND: LazyLock<RawDocumentBuf> =
    LazyLock::new(|| rawdoc! { "value": 1, "version": 1, "expires_at": 1, "now": "$$NOW" });

static FOUND_WITHOUT_VALUE: LazyLock<RawDocumentBuf> =
    LazyLock::new(|| rawdoc! { "expires_at": 1, "now": "$$NOW" });

/// Which fields a read brings along.
#[derive(Clone, Copy)]
pub(crate) enum Fields {
    /// The document as it is, without the server's clock.
    Document,
    All,
    /// All but the value, which may be large.
    NoValue,
}

impl Fields {
    fn write(self, command: &mut Writer) {
        match self {
            Self::Document => {}
            Self::All => command.written("projection", &FOUND),
            Self::NoValue => command.written("projection", &FOUND_WITHOUT_VALUE),
        }
    }
}

impl Client {
    /// Begins a command on the collection.
    pub(crate) fn command(&self, name: &str, capacity: usize) -> Writer {
        let mut command = Writer::new(capacity + 512);
        command.string(name, &self.config.collection);
        command.int32("maxTimeMS", millis(self.config.timeout));
        command
    }

    fn find(&self, capacity: usize) -> Writer {
        let mut command = self.command("find", capacity);
        if let Some(concern) = &self.concerns.read {
            command.written("readConcern", concern);
        }
        command
    }

    /// Begins a command that writes.
    fn change(&self, name: &str, capacity: usize) -> Writer {
        let mut command = self.command(name, capacity);
        command.written("writeConcern", &self.concerns.write);
        command
    }

    pub(crate) fn find_one(&self, key: &str, fields: Fields) -> RawDocumentBuf {
        let mut command = self.find(key.len());
        command.document("filter", |filter| filter.string("_id", key));
        fields.write(&mut command);
        command.int32("limit", 1);
        command.bool("singleBatch", true);
        command.finish()
    }

    /// Finds these keys, all in the first answer where they fit in.
    pub(crate) fn find_many(&self, keys: &[&str], fields: Fields) -> RawDocumentBuf {
        let mut command = self.find(keys.iter().map(|key| key.len() + 16).sum());
        command.document("filter", |filter| {
            filter.document("_id", |id| {
                id.array("$in", |list| {
                    for (index, key) in keys.iter().enumerate() {
                        list.string(&index.to_string(), key);
                    }
                });
            });
        });
        fields.write(&mut command);
        command.int32(
            "batchSize",
            i32::try_from(keys.len() + 1).unwrap_or(i32::MAX),
        );
        command.finish()
    }

    /// Finds the next live keys that begin with a prefix, in order.
    pub(crate) fn find_page(&self, prefix: &str, after: Option<&str>, page: i32) -> RawDocumentBuf {
        let mut command = self.find(2 * prefix.len());
        command.document("filter", |filter| {
            filter.document("_id", |id| {
                match after {
                    Some(last) => id.string("$gt", last),
                    // Also for the empty prefix: a text is compared with texts alone.
                    None => id.string("$gte", prefix),
                }
                if let Some(end) = crate::keys::end_of(prefix) {
                    id.string("$lt", &end);
                }
            });
            filter.written("$expr", &LIVE);
        });
        command.document("projection", |projection| projection.int32("_id", 1));
        command.document("sort", |sort| sort.int32("_id", 1));
        command.int32("limit", page);
        // Else the first answer has 101.
        command.int32("batchSize", page);
        command.bool("singleBatch", true);
        command.finish()
    }

    /// Sets many keys, each under its own condition. Who asks gives each its version.
    pub(crate) fn update(&self, sets: &[Set<'_>]) -> RawDocumentBuf {
        let mut command = self.change("update", sets.iter().map(Set::len).sum());
        command.bool("ordered", false);
        command.array("updates", |updates| {
            for (index, set) in sets.iter().enumerate() {
                updates.document(&index.to_string(), |update| set.write(update));
            }
        });
        command.finish()
    }

    /// Sets the expiry of a live key.
    pub(crate) fn touch(&self, key: &str, expiry: Expiry) -> Result<RawDocumentBuf> {
        let expires = Expires::try_from(expiry)?;
        let mut command = self.change("update", key.len());
        command.array("updates", |updates| {
            updates.document("0", |update| {
                update.document("q", |query| live(query, key));
                update.array("u", |pipeline| {
                    pipeline.document("0", |stage| match expires {
                        Expires::Never => stage.string("$unset", "expires_at"),
                        expires => stage.document("$set", |set| expires.write(set)),
                    });
                });
            });
        });
        Ok(command.finish())
    }

    /// Gives a live document that has no version this one, and answers with the document.
    pub(crate) fn give_version(&self, key: &str, version: ObjectId) -> RawDocumentBuf {
        let mut command = self.change("findAndModify", key.len());
        command.document("query", |query| {
            live(query, key);
            query.document("version", |version| {
                version.document("$not", |not| not.string("$type", "objectId"));
            });
        });
        command.document("update", |update| {
            update.document("$set", |set| set.object_id("version", version));
        });
        command.bool("new", true);
        command.written("fields", &FOUND);
        command.finish()
    }

    /// Deletes a live document, and answers with it.
    pub(crate) fn take(&self, key: &str) -> RawDocumentBuf {
        let mut command = self.change("findAndModify", key.len());
        command.document("query", |query| live(query, key));
        command.bool("remove", true);
        command.written("fields", &FOUND);
        command.finish()
    }

    /// Deletes keys. A delete of a version stands alone: what is answered is a count.
    pub(crate) fn delete(&self, requests: &[&DeleteRequest<'_>]) -> RawDocumentBuf {
        let bytes = |request: &&DeleteRequest<'_>| request.key.as_str().len() + 64;
        let mut command = self.change("delete", requests.iter().map(bytes).sum());
        command.bool("ordered", false);
        command.array("deletes", |deletes| {
            for (index, request) in requests.iter().enumerate() {
                deletes.document(&index.to_string(), |delete| {
                    delete.document("q", |query| match &request.version {
                        None => query.string("_id", request.key.as_str()),
                        Some(version) => {
                            live(query, request.key.as_str());
                            match object_id(version) {
                                Some(id) => query.object_id("version", id),
                                // Not one of ours, which no document has.
                                None => query.string("version", ""),
                            }
                        }
                    });
                    delete.int32("limit", 1);
                });
            }
        });
        command.finish()
    }
}

/// Finds a key that has not expired.
fn live(query: &mut Writer, key: &str) {
    query.string("_id", key);
    query.written("$expr", &LIVE);
}

/// The version as documents have it; `None` for one that is not of this provider.
fn object_id(version: &Version) -> Option<ObjectId> {
    version.to_string().parse().ok()
}

/// A key to set.
pub(crate) struct Set<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: Encoded,
    pub(crate) version: ObjectId,
    condition: Option<Condition>,
    expires: Expires,
}

impl<'a> Set<'a> {
    pub(crate) fn new(request: &SetRequest<'a>, value: Encoded) -> Result<Self> {
        match request.condition {
            None | Some(Condition::Absent | Condition::Present | Condition::Version(_)) => {}
            Some(_) => {
                let message = "this release does not know that condition";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        Ok(Self {
            key: request.key.as_str(),
            value,
            version: ObjectId::new(),
            condition: request.condition.clone(),
            expires: request.expiry.try_into()?,
        })
    }

    /// About how many bytes it has in a command.
    pub(crate) fn len(&self) -> usize {
        2 * self.key.len() + self.value.len() + 512
    }

    fn write(&self, update: &mut Writer) {
        update.document("q", |query| query.string("_id", self.key));
        update.bool("upsert", true);
        if let (None, Expires::Never) = (&self.condition, self.expires) {
            // Nothing is to be computed: the server replaces the document, with less ado.
            update.document("u", |document| {
                self.value.write(document, "value");
                document.object_id("version", self.version);
            });
            return;
        }
        update.array("u", |pipeline| {
            pipeline.document("0", |stage| match &self.condition {
                None => stage.document("$replaceWith", |document| self.document(document)),
                Some(condition) => stage.document("$replaceWith", |replacement| {
                    replacement.array("$cond", |parts| {
                        holds(parts, condition);
                        parts.document("1", |document| self.document(document));
                        parts.written("2", &UNMET);
                    });
                }),
            });
        });
    }

    /// The document, as an expression: as hexkit has it, with what is ours beside it.
    fn document(&self, document: &mut Writer) {
        document.string("_id", "$_id");
        document.document("value", |value| self.value.write(value, "$literal"));
        document.object_id("version", self.version);
        self.expires.write(document);
    }
}

/// Writes the condition as the first of `$cond`.
fn holds(parts: &mut Writer, condition: &Condition) {
    match condition {
        Condition::Absent => parts.written("0", &ABSENT),
        Condition::Version(version) => parts.document("0", |and| {
            and.array("$and", |and| {
                and.document("0", |equal| {
                    equal.array("$eq", |pair| {
                        pair.string("0", "$version");
                        match object_id(version) {
                            Some(id) => pair.object_id("1", id),
                            // Not one of ours, which no document has.
                            None => pair.bool("1", false),
                        }
                    });
                });
                and.written("1", &LIVE);
            });
        }),
        _ => parts.written("0", &PRESENT),
    }
}

/// When a key expires, as the server computes it.
#[derive(Clone, Copy)]
enum Expires {
    Never,
    After(i64),
    Keep,
}

impl Expires {
    fn write(self, document: &mut Writer) {
        match self {
            Self::Never => {}
            Self::After(millis) => document.document("expires_at", |date| {
                date.array("$add", |sum| {
                    sum.string("0", "$$NOW");
                    sum.int64("1", millis);
                });
            }),
            Self::Keep => document.written("expires_at", &KEPT_EXPIRY),
        }
    }
}

impl TryFrom<Expiry> for Expires {
    type Error = Error;

    fn try_from(expiry: Expiry) -> Result<Self> {
        match expiry {
            Expiry::Never => Ok(Self::Never),
            Expiry::Keep => Ok(Self::Keep),
            Expiry::After(time) => {
                let too_long = |_| Error::from(ErrorKind::InvalidTtl);
                // Rounded up: a key never expires too early.
                let nanos = time
                    .as_nanos()
                    .div_ceil(Duration::from_millis(1).as_nanos());
                Ok(Self::After(i64::try_from(nanos).map_err(too_long)?))
            }
            _ => {
                let message = "this release does not know that expiry";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}
