//! Writes: as they are, or under the condition that nothing came between a read and the write.
//!
//! ZooKeeper can require a node's version, which counts the writes since the node was created, and begins at
//! 0 again when it was deleted and created. So every delete also writes the bucket, whose version then is the
//! *epoch* of the nodes in it: as long as it is the same, none was deleted, and a node's version says whether
//! it was written.

use kvstore_core::{
    Bytes, Condition, DeleteRequest, Error, ErrorKind, Expiry, GetRequest, Outcome, Result,
    SetRequest, TouchRequest,
};

use crate::client::{Call, Effect};
use crate::data::{Data, Ends, Moment, ends};
use crate::error::refused;
use crate::place::Place;
use crate::read::{Node, done, exactly, version};
use crate::wire::{self, ANY, Code, Frames, Write};

impl Call<'_> {
    pub(crate) async fn set(&self, request: &SetRequest<'_>) -> Result<Outcome> {
        let place = self.client.root.place(request.key.as_str());
        let zxid = match (&request.condition, request.expiry) {
            (None, Expiry::Never | Expiry::After(_)) => {
                Some(self.put(&place, &data(request, None)?).await?)
            }
            (condition, _) => self.put_if(&place, request, condition.as_ref()).await?,
        };
        Ok(match zxid {
            Some(zxid) => Outcome::Applied(Some(version(zxid))),
            None => Outcome::Unmet,
        })
    }

    /// Writes whether or not there is a node; the answer is the transaction.
    async fn put(&self, place: &Place, data: &Data<'_>) -> Result<i64> {
        loop {
            if let Some(zxid) = self.overwrite(place, data).await? {
                return Ok(zxid);
            }
            if let Some(zxid) = self.create(place, data).await? {
                return Ok(zxid);
            }
        }
    }

    /// Writes if the condition holds; the answer is the transaction.
    async fn put_if(
        &self,
        place: &Place,
        request: &SetRequest<'_>,
        condition: Option<&Condition>,
    ) -> Result<Option<i64>> {
        // Most often it is absent where that is the condition: asked first.
        let mut creates = matches!(condition, Some(Condition::Absent));
        loop {
            if creates && let Some(zxid) = self.create(place, &data(request, None)?).await? {
                return Ok(Some(zxid));
            }
            let seen = self.see(place).await?;
            let live = seen.node.as_ref().filter(|node| node.is_live());
            let holds = match condition {
                None => true,
                Some(Condition::Absent) => live.is_none(),
                Some(Condition::Present) => live.is_some(),
                Some(Condition::Version(wanted)) => {
                    live.is_some_and(|node| version(node.stat.mzxid) == *wanted)
                }
                Some(_) => return Err(unknown_condition()),
            };
            if !holds {
                return Ok(None);
            }
            creates = seen.node.is_none();
            if let (Some(epoch), Some(node)) = (seen.epoch, &seen.node) {
                let kept = live.and_then(|node| node.expires_at);
                let data = data(request, kept)?;
                if let Some(zxid) = self.replace(place, epoch, node, data).await? {
                    return Ok(Some(zxid));
                }
            }
        }
    }

    pub(crate) async fn delete(&self, request: &DeleteRequest<'_>) -> Result<Outcome> {
        let place = self.client.root.place(request.key.as_str());
        let Some(wanted) = &request.version else {
            self.remove(&place, ANY, ANY).await?;
            return Ok(Outcome::Applied(None));
        };
        loop {
            let seen = self.see(&place).await?;
            let live = seen.node.filter(Node::is_live);
            let Some(node) = live.filter(|node| version(node.stat.mzxid) == *wanted) else {
                return Ok(Outcome::Unmet);
            };
            if let Some(epoch) = seen.epoch
                && self.remove(&place, epoch, node.stat.version).await?
            {
                return Ok(Outcome::Applied(None));
            }
        }
    }

    pub(crate) async fn take(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        let place = self.client.root.place(request.key.as_str());
        loop {
            let seen = self.see(&place).await?;
            let Some(node) = seen.node.filter(Node::is_live) else {
                return Ok(None);
            };
            if let Some(epoch) = seen.epoch
                && self.remove(&place, epoch, node.stat.version).await?
            {
                return Ok(Some(node.value));
            }
        }
    }

    pub(crate) async fn touch(&self, request: TouchRequest<'_>) -> Result<bool> {
        let place = self.client.root.place(request.key.as_str());
        loop {
            let seen = self.see(&place).await?;
            let Some(node) = seen.node.filter(Node::is_live) else {
                return Ok(false);
            };
            let ends = ends(request.expiry, node.expires_at)?;
            if ends == Ends::kept(node.expires_at) {
                return Ok(true);
            }
            // Of others: what is too long closes the connection, with all that is under way on it.
            if node.value.len() > self.client.config.max_value_len {
                let message =
                    "the node holds more than `max_value_len`, and would have to be written anew";
                return Err(Error::new(ErrorKind::ValueTooLarge, message));
            }
            let data = Data::new(&node.value, ends);
            if let Some(epoch) = seen.epoch
                && self.replace(&place, epoch, &node, data).await?.is_some()
            {
                return Ok(true);
            }
        }
    }

    /// Writes a node whatever it holds; `None`: it is not there.
    async fn overwrite(&self, place: &Place, data: &Data<'_>) -> Result<Option<i64>> {
        let write = Write::Set {
            path: place.node(),
            data,
            version: ANY,
        };
        let frames = || Frames::new().write(&write);
        let [answer] = exactly(self.ask(Effect::Write, frames).await?)?;
        match answer.result {
            Ok(_) => Ok(Some(answer.zxid)),
            Err(Code::NO_NODE) => Ok(None),
            Err(code) => Err(refused(code)),
        }
    }

    /// Creates a node; `None`: it is there. What is above it is created when it is missing.
    async fn create(&self, place: &Place, data: &Data<'_>) -> Result<Option<i64>> {
        loop {
            match self.create_node(Effect::Write, place.node(), data).await? {
                Created::Done(zxid) => return Ok(Some(zxid)),
                Created::There => return Ok(None),
                Created::NoParent => self.create_parents(place.bucket()).await?,
            }
        }
    }

    /// Creates an empty node, and what is missing above it. Nothing that is there is asked to be created: that
    /// takes a right in its parent all the same.
    pub(crate) async fn create_parents(&self, path: &str) -> Result<()> {
        let mut end = path.len();
        loop {
            // To do it twice is to do it once.
            let created = self.create_node(Effect::None, &path[..end], &Data::EMPTY);
            match created.await? {
                Created::Done(_) | Created::There if end == path.len() => return Ok(()),
                Created::Done(_) | Created::There => {
                    let rest = &path[end + 1..];
                    end += 1 + rest.find('/').unwrap_or(rest.len());
                }
                // Above the first name is the server's own root, which is always there.
                Created::NoParent => {
                    end = path[..end].rfind('/').filter(|at| *at > 0).unwrap_or(end)
                }
            }
        }
    }

    async fn create_node(&self, effect: Effect, path: &str, data: &Data<'_>) -> Result<Created> {
        let acl = &self.client.acl;
        let frames = || Frames::new().write(&Write::Create { path, data, acl });
        let [answer] = exactly(self.ask(effect, frames).await?)?;
        match answer.result {
            Ok(_) => Ok(Created::Done(answer.zxid)),
            Err(Code::NODE_EXISTS) => Ok(Created::There),
            Err(Code::NO_NODE) => Ok(Created::NoParent),
            Err(code) => Err(refused(code)),
        }
    }

    /// Writes a node if it is as it was seen; `None`: it is not.
    async fn replace(
        &self,
        place: &Place,
        epoch: i32,
        node: &Node,
        data: Data<'_>,
    ) -> Result<Option<i64>> {
        let writes = [
            Write::Check {
                path: place.bucket(),
                version: epoch,
            },
            Write::Set {
                path: place.node(),
                data: &data,
                version: node.stat.version,
            },
        ];
        self.multi(&writes).await
    }

    /// Deletes a node if it and its bucket are of these versions, and begins another epoch; `false`: they are
    /// not.
    async fn remove(&self, place: &Place, epoch: i32, version: i32) -> Result<bool> {
        let writes = [
            Write::Set {
                path: place.bucket(),
                data: &Data::EMPTY,
                version: epoch,
            },
            Write::Delete {
                path: place.node(),
                version,
            },
        ];
        Ok(self.multi(&writes).await?.is_some())
    }

    /// Does writes together; `None`: a node that they want is missing, or at another version.
    pub(crate) async fn multi(&self, writes: &[Write<'_>]) -> Result<Option<i64>> {
        match self.all_or_none(writes).await? {
            Ok(zxid) => Ok(Some(zxid)),
            Err((_, Code::NO_NODE | Code::BAD_VERSION)) => Ok(None),
            Err((_, code)) => Err(refused(code)),
        }
    }

    /// Does writes together; the answer is the transaction, or which write the server refuses, so that none
    /// was done.
    pub(crate) async fn all_or_none(
        &self,
        writes: &[Write<'_>],
    ) -> Result<Result<i64, (usize, Code)>> {
        let frames = || Frames::new().multi(writes);
        let [answer] = exactly(self.ask(Effect::Write, frames).await?)?;
        let zxid = answer.zxid;
        let failed = wire::failed_write(done(answer)?)?;
        Ok(failed.map_or(Ok(zxid), Err))
    }
}

/// What has become of a node that was to be created.
enum Created {
    Done(i64),
    There,
    NoParent,
}

/// What a request writes where the expiry was `kept` before.
pub(crate) fn data<'a>(request: &'a SetRequest<'_>, kept: Option<Moment>) -> Result<Data<'a>> {
    Ok(Data::new(&request.value, ends(request.expiry, kept)?))
}

fn unknown_condition() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "this release does not know that condition",
    )
}
