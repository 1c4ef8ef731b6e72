//! Batches, cut into pieces that are calls, so that none of them holds up the others for long.

use std::iter::repeat_with;

use kvstore_core::{Bytes, DeleteRequest, GetRequest, Outcome, Result, SetRequest};

use crate::call::Pending;
use crate::change::{Delete, Set, WEIGHT};
use crate::client::Client;

/// How many items are one piece.
const ITEMS: usize = 1000;
/// How many bytes are one piece, unless one item has more.
const BYTES: usize = 8 << 20;

pub(crate) async fn get(
    client: &Client,
    requests: &[GetRequest<'_>],
) -> Vec<Result<Option<Bytes>>> {
    let send = |piece: &[GetRequest<'_>]| {
        let own = |request: &GetRequest<'_>| -> Box<str> { request.key.as_str().into() };
        let keys: Vec<_> = piece.iter().map(own).collect();
        client.send_read(keys.len(), move |snapshot| {
            keys.iter()
                .map(|key| snapshot.get(key).map(Ok))
                .collect::<Result<_, _>>()
        })
    };
    in_pieces(client, requests, |_| 0, send).await
}

pub(crate) async fn set(client: &Client, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
    let weight = |request: &SetRequest<'_>| WEIGHT + request.value.len();
    let send = |piece: &[SetRequest<'_>]| {
        let sets: Vec<_> = piece.iter().map(Set::new).collect();
        client.send_write(piece.iter().map(weight).sum(), move |tables| {
            let run = |set: &Result<Set>| match set {
                Ok(set) => set.run(tables).map(Ok),
                Err(error) => Ok(Err(error.clone())),
            };
            sets.iter().map(run).collect::<Result<_, _>>()
        })
    };
    in_pieces(client, requests, weight, send).await
}

pub(crate) async fn delete(
    client: &Client,
    requests: &[DeleteRequest<'_>],
) -> Vec<Result<Outcome>> {
    let send = |piece: &[DeleteRequest<'_>]| {
        let deletes: Vec<_> = piece.iter().map(Delete::new).collect();
        client.send_removal(deletes.len(), move |tables| {
            let run = |delete: &Delete| delete.run(tables).map(Ok);
            deletes.iter().map(run).collect::<Result<_, _>>()
        })
    };
    in_pieces(client, requests, |_| WEIGHT, send).await
}

/// Sends the pieces of a batch at once, and waits for them all, by one deadline. An error that a piece meets is that
/// of each of its items.
async fn in_pieces<I, T>(
    client: &Client,
    mut items: &[I],
    weight: impl Fn(&I) -> usize,
    send: impl Fn(&[I]) -> Result<Pending<Vec<Result<T>>>>,
) -> Vec<Result<T>> {
    let deadline = client.deadline();
    let mut results = Vec::with_capacity(items.len());
    let mut sent = Vec::new();
    while !items.is_empty() {
        let (piece, rest) = items.split_at(first_piece(items, &weight));
        sent.push((piece.len(), send(piece)));
        items = rest;
    }
    for (len, pending) in sent {
        let answers = match pending {
            Ok(pending) => pending.wait(deadline).await,
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => results.extend(answers),
            Err(error) => results.extend(repeat_with(|| Err(error.clone())).take(len)),
        }
    }
    results
}

/// How many items, at least one, are the first piece.
fn first_piece<I>(items: &[I], weight: impl Fn(&I) -> usize) -> usize {
    let mut left = BYTES;
    let fits = |item: &&I| match left.checked_sub(weight(item)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    items.iter().take(ITEMS).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_so_many_items_or_bytes() {
        let first = |items: &[usize]| first_piece(items, |bytes| *bytes);
        assert_eq!(first(&[1; 10]), 10);
        assert_eq!(first(&[0; 1001]), ITEMS);
        assert_eq!(first(&[BYTES, 0, 0, 1]), 3);
        assert_eq!(first(&[BYTES / 2 + 1; 3]), 1);
        assert_eq!(first(&[BYTES + 1, 1]), 1);
    }
}
