//! `copy`: every key of a store into another.

use futures_util::StreamExt as _;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::source::Source;
use crate::stores;
use crate::transfer::{Item, Target};

pub(crate) async fn run(context: &Context<'_>, args: args::Copy) -> Result<End, Failure> {
    let opened = async {
        let source = context.listed(&args.from, args.kind).await?;
        Ok::<_, Failure>((source, stores::open(&args.to).await?))
    };
    let (source, target) = tokio::select! {
        opened = opened => opened?,
        () = context.signals.interrupted() => return Err(Failure::Interrupted),
    };
    let unit = source.capabilities().expiry;
    let source = Source::new(source);
    let target = Target::new(context, &target, args.how, args.which.jobs.jobs)?;
    let target = target.with_source_unit(unit);
    let read = async |key: kvstore_core::Result<String>| {
        // A listing that fails is not complete.
        let key = key?;
        let room = source.reserve().await;
        let found = source.read(&key, room).await;
        target.count_read();
        match found {
            Ok(Some(found)) => Ok(Some(Item {
                key,
                kind: args.kind,
                value: found.value,
                expires: found.expires,
                at: found.at,
                room: found.room,
            })),
            // It was deleted, or has expired, since it was listed.
            Ok(None) => Ok(None),
            Err(error) => target.failed(error.into()).map(|()| None),
        }
    };
    let items = source.keys(&args.which.prefix).map(read);
    target.run(items, Some(&source.store)).await
}
