//! Batches: one command for all keys where it can be, else one each, written together.

use futures_util::future::join_all;
use kvstore_core::{Bytes, DeleteRequest, Error, Expiry, GetRequest, Outcome, Result, SetRequest};

use crate::RedisProvider;
use crate::client::Call;
use crate::command::{Command, Reply};
use crate::provider::{data, for_one_key, not_understood};

/// So that one batch does not hold the server up for everybody, which works on one command at a time.
const CHUNK_KEYS: usize = 1000;
const CHUNK_BYTES: usize = 4 << 20;

impl RedisProvider {
    pub(crate) async fn get_batch(
        &self,
        requests: &[GetRequest<'_>],
    ) -> Vec<Result<Option<Bytes>>> {
        let mut results = Vec::with_capacity(requests.len());
        if requests.is_empty() {
            return results;
        }
        let call = match self.call() {
            Ok(call) => call,
            Err(error) => return vec![Err(error); requests.len()],
        };
        for chunk in requests.chunks(CHUNK_KEYS) {
            let keys: Vec<_> = chunk.iter().map(|request| self.key(request.key)).collect();
            results.extend(get_chunk(&call, keys).await);
        }
        results
    }

    pub(crate) async fn set_batch(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut results = Vec::with_capacity(requests.len());
        if requests.is_empty() {
            return results;
        }
        let call = match self.call() {
            Ok(call) => call,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let mut rest = requests;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |request: &&SetRequest<'_>| {
                bytes += request.value.len();
                bytes <= CHUNK_BYTES
            };
            let count = rest.iter().take(CHUNK_KEYS).take_while(fits).count().max(1);
            let (chunk, others) = rest.split_at(count);
            results.extend(self.set_chunk(&call, chunk).await);
            rest = others;
        }
        results
    }

    async fn set_chunk(&self, call: &Call<'_>, chunk: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let plain = |request: &SetRequest<'_>| {
            request.expiry == Expiry::Never && request.condition.is_none()
        };
        // MSET is three to five times as fast as SETs written together; it knows no options.
        if chunk.len() > 1 && chunk.iter().all(plain) {
            let items = chunk
                .iter()
                .map(|request| (self.key(request.key), request.value.clone()))
                .collect();
            let answer = call.send(Command::SetMany(items)).await;
            if !for_one_key(&answer) {
                return all(answer.map_err(Error::from), chunk.len());
            }
        }
        join_all(
            chunk
                .iter()
                .map(|request| self.set_in(call, request.clone())),
        )
        .await
    }

    pub(crate) async fn delete_batch(
        &self,
        requests: &[DeleteRequest<'_>],
    ) -> Vec<Result<Outcome>> {
        let mut results = Vec::with_capacity(requests.len());
        if requests.is_empty() {
            return results;
        }
        let call = match self.call() {
            Ok(call) => call,
            Err(error) => return vec![Err(error); requests.len()],
        };
        for chunk in requests.chunks(CHUNK_KEYS) {
            results.extend(self.delete_chunk(&call, chunk).await);
        }
        results
    }

    async fn delete_chunk(
        &self,
        call: &Call<'_>,
        chunk: &[DeleteRequest<'_>],
    ) -> Vec<Result<Outcome>> {
        if chunk.iter().all(|request| request.version.is_none()) {
            let keys = chunk.iter().map(|request| self.key(request.key)).collect();
            let answer = call.send(Command::Delete(keys)).await;
            if !for_one_key(&answer) {
                return all(answer.map_err(Error::from), chunk.len());
            }
        }
        join_all(
            chunk
                .iter()
                .map(|request| self.delete_in(call, request.clone())),
        )
        .await
    }
}

async fn get_chunk(call: &Call<'_>, keys: Vec<Bytes>) -> Vec<Result<Option<Bytes>>> {
    let get = async |key: Bytes| data(call.send(Command::Get(key)).await?);
    let answer = call.send(Command::GetMany(keys.clone())).await;
    let values = match answer {
        Ok(Reply::List(values)) if values.len() == keys.len() => values,
        Ok(_) => return vec![Err(not_understood()); keys.len()],
        _ if for_one_key(&answer) => return join_all(keys.into_iter().map(get)).await,
        Err(failure) => return vec![Err(failure.into()); keys.len()],
    };
    // MGET says nil for a list as well, so what it calls missing is asked for again.
    let mut results = Vec::with_capacity(keys.len());
    let mut missing = Vec::new();
    for (place, (key, value)) in keys.into_iter().zip(values).enumerate() {
        if matches!(value, Reply::Nil) {
            missing.push(async move { (place, get(key).await) });
        }
        results.push(data(value));
    }
    for (place, result) in join_all(missing).await {
        results[place] = result;
    }
    results
}

/// One answer for all items.
fn all(answer: Result<Reply>, items: usize) -> Vec<Result<Outcome>> {
    vec![answer.map(|_| Outcome::Applied(None)); items]
}
