//! `copy`: every key of a store into another.

use futures_util::StreamExt as _;

use crate::Context;
use crate::args;
use crate::failure::{End, Failure};
use crate::source::Source;
use crate::transfer::{Item, Target};
use crate::turns::Turn;

pub(crate) async fn run(context: &Context<'_>, args: args::Copy) -> Result<End, Failure> {
    let opened = async {
        let source = context.listed(&args.from, args.kind).await?;
        Ok::<_, Failure>((source, context.open(&args.to).await?))
    };
    let (source, target) = tokio::select! {
        opened = opened => opened?,
        () = context.signals.interrupted() => return Err(Failure::Interrupted),
    };
    let unit = source.capabilities().expiry;
    let source = Source::new(source);
    let target = Target::new(context, &target, args.how, args.which.jobs.jobs)?;
    let target = target.with_source_unit(unit);
    let read = async |key: kvstore_core::Result<(String, Turn)>| {
        // A listing that fails is not complete.
        let (key, turn) = key?;
        let turn = turn.comes().await;
        let room = source.reserve().await;
        let found = source.read(&key, room).await;
        target.count_read();
        match found {
            Ok(Some(found)) => Ok(Some(Item::new(turn, key, args.kind, found))),
            // It was deleted, or has expired, since it was listed.
            Ok(None) => {
                target.count_gone();
                Ok(None)
            }
            Err(error) => target.failed(error.into()).map(|()| None),
        }
    };
    let keys = source.keys_patiently(&args.which.prefix);
    let queued = keys.map(|key| {
        key.map(|key| {
            let turn = target.queue(&key);
            (key, turn)
        })
    });
    let items = queued.map(read);
    target.run(items, Some(&source.store)).await
}
