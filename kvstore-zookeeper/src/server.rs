//! What the credentials let us do, and what the server says of itself.

use kvstore_core::{Error, ErrorKind, Result, ServerInfo};
use tokio::time::{timeout, timeout_at};

use crate::client::{Call, Effect};
use crate::data::Data;
use crate::error::refused;
use crate::read::{done, exactly, is_there};
use crate::status::Status;
use crate::wire::{self, ANY, Code, Frames, Write};
use crate::{Acl, Rights};

/// Makes sure that nodes can be created, written and deleted, without doing so: the writes are those of a
/// multi whose last fails for sure. That credentials were taken proves nothing, since ZooKeeper takes any.
pub(crate) async fn check(call: &Call<'_>) -> Result<()> {
    let client = call.client;
    let place = client.root.place("kvstore-check");
    // No key has a node of this name.
    let probe = format!("{}/~check", place.bucket());
    let ends = place.bucket().match_indices('/').map(|(at, _)| at).skip(1);
    let folders: Vec<_> = ends
        .map(|end| &place.bucket()[..end])
        .chain([place.bucket()])
        .collect();
    loop {
        let exists = |frames: Frames, path: &&str| frames.exists(path);
        let frames = || folders.iter().fold(Frames::fresh(), exists);
        let answers = call.ask(Effect::None, frames).await?;
        let mut steps = Vec::new();
        let (data, acl) = (&Data::EMPTY, &client.acl[..]);
        for (path, answer) in folders.iter().zip(answers) {
            if !is_there(&answer)? {
                steps.push((
                    Write::Create { path, data, acl },
                    "to create a node for the keys",
                ));
            }
        }
        let (path, version) = (probe.as_str(), ANY);
        steps.extend([
            (
                Write::Set {
                    path: place.bucket(),
                    data,
                    version,
                },
                "to write a node above the keys",
            ),
            (
                Write::Check {
                    path: place.bucket(),
                    version,
                },
                "to read a node above the keys",
            ),
            (Write::Create { path, data, acl }, "to create keys"),
            (Write::Check { path, version }, "to read keys"),
            (
                Write::Set {
                    path,
                    data,
                    version,
                },
                "to write keys",
            ),
            (Write::Delete { path, version }, "to delete keys"),
            // It is gone now, whatever the rights are.
            (Write::Delete { path, version }, ""),
        ]);
        let last = steps.len() - 1;
        let (writes, rights): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        let frames = || Frames::new().multi(&writes);
        let [answer] = exactly(call.ask(Effect::None, frames).await?)?;
        match wire::failed_write(done(answer)?)? {
            Some((at, Code::NO_NODE)) if at == last => return Ok(()),
            Some((at, code @ Code::NO_AUTH)) => {
                let right = rights.get(at).copied().unwrap_or_default();
                let message = format!(
                    "the ACLs do not allow this user {right} below `{}`; or the user's name or password is wrong, \
                     which ZooKeeper does not tell",
                    client.root.path()
                );
                let source = refused(code);
                return Err(Error::new(ErrorKind::PermissionDenied, message).with_source(source));
            }
            Some((_, Code::NODE_EXISTS | Code::NO_NODE)) => {
                // Somebody else was quicker to create or to delete a node: look again.
            }
            Some((_, code)) => return Err(refused(code)),
            None => {
                let message = "the server did what it should not have been able to do";
                return Err(Error::new(ErrorKind::Other, message));
            }
        }
    }
}

/// Asks what the server is, and for what may bite.
pub(crate) async fn ping(call: &Call<'_>) -> Result<ServerInfo> {
    let client = call.client;
    let frames = || Frames::fresh().exists(client.root.path());
    let [found] = exactly(call.ask(Effect::None, frames).await?)?;
    is_there(&found)?;
    let mut status = None;
    for server in &client.config.servers {
        // So that others are asked after one that does not answer.
        let asking = Status::ask((server.host.as_str(), server.port));
        let asking = timeout(client.config.connect_timeout, asking);
        if let Ok(Ok(Ok(answer @ Some(_)))) = timeout_at(call.deadline, asking).await {
            status = answer;
            break;
        }
    }
    let mut info = ServerInfo::new("zookeeper");
    info.version = status.as_ref().and_then(Status::version).map(str::to_owned);
    if client.config.is_remote() {
        info = info.with_warning("no TLS: values and the password cross the network in the clear");
    }
    let open = |acl: &Acl| acl.scheme == "world" && acl.rights.bits() & Rights::WRITE.bits() != 0;
    if client.acl.iter().any(open) {
        info = info.with_warning(
            "whoever reaches the server can change what is stored: nodes are created with an open ACL",
        );
    }
    let warning = match status.as_ref().and_then(Status::mode) {
        Some("standalone") => {
            "the server is alone, and no ensemble: while it is down there is none"
        }
        Some(_) if client.config.servers.len() > 1 => return Ok(info),
        Some(_) => {
            "each read costs a write, since one name may stand for any server of the ensemble; name all servers"
        }
        None => {
            "each read costs a write, since servers do not tell whether they lead; allow `srvr` by their \
             `4lw.commands.whitelist`"
        }
    };
    Ok(info.with_warning(warning))
}
