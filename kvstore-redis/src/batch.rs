//! Batches: one command for all keys where it can be, else one each, written together for each server.

use kvstore_core::{
    Bytes, DeleteRequest, Error, ErrorKind, Expiry, GetRequest, Outcome, Result, SetRequest,
};

use crate::RedisProvider;
use crate::call::Call;
use crate::command::{Command, Reply};
use crate::error::{Failure, not_understood};
use crate::provider::{applied, data, delete_outcome, set_outcome};

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
            results.extend(self.get_chunk(&call, chunk).await);
        }
        results
    }

    async fn get_chunk(
        &self,
        call: &Call<'_>,
        chunk: &[GetRequest<'_>],
    ) -> Vec<Result<Option<Bytes>>> {
        if !self.takes_many_keys() {
            return self.get_each(call, chunk.iter()).await;
        }
        let keys = chunk.iter().map(|request| self.key(request.key));
        let answer = call.send(Command::get_many(keys)).await;
        let values = match answer {
            Ok(Reply::List(values)) if values.len() == chunk.len() => values,
            Ok(_) => return vec![Err(not_understood()); chunk.len()],
            _ if for_one_key(&answer) => return self.get_each(call, chunk.iter()).await,
            Err(failure) => return vec![Err(failure.into()); chunk.len()],
        };
        // MGET says nil for a list as well, so what it calls missing is asked for again.
        let missing = |value: &Reply| matches!(value, Reply::Nil);
        let places: Vec<usize> = (0..chunk.len())
            .filter(|place| missing(&values[*place]))
            .collect();
        let mut results: Vec<_> = values.into_iter().map(data).collect();
        if !places.is_empty() {
            let asked = places.iter().map(|place| &chunk[*place]);
            let answers = self.get_each(call, asked).await;
            for (place, answer) in places.into_iter().zip(answers) {
                results[place] = answer;
            }
        }
        results
    }

    async fn get_each<'a>(
        &self,
        call: &Call<'_>,
        requests: impl Iterator<Item = &'a GetRequest<'a>>,
    ) -> Vec<Result<Option<Bytes>>> {
        let commands = requests.map(|request| Command::get(self.key(request.key)));
        let answers = call.send_all(commands.collect()).await;
        answers.into_iter().map(|answer| data(answer?)).collect()
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
        if self.takes_many_keys() && chunk.len() > 1 && chunk.iter().all(plain) {
            let items = chunk
                .iter()
                .map(|request| (self.key(request.key), &request.value[..]));
            let answer = call.send(Command::set_many(items)).await;
            if !for_one_key(&answer) {
                return all(answer, chunk.len());
            }
        }
        let commands = chunk.iter().map(|request| self.set_command(request));
        let commands: Vec<_> = match commands.collect() {
            Ok(commands) => commands,
            Err(error) => return vec![Err(error); chunk.len()],
        };
        let answers = call.send_all(commands).await.into_iter();
        let outcomes = answers.zip(chunk);
        outcomes
            .map(|(answer, request)| set_outcome(request, answer?))
            .collect()
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
        if self.takes_many_keys() && chunk.iter().all(|request| request.version.is_none()) {
            let keys = chunk.iter().map(|request| self.key(request.key));
            let answer = call.send(Command::delete(keys)).await;
            if !for_one_key(&answer) {
                return all(answer, chunk.len());
            }
        }
        let commands = chunk.iter().map(|request| self.delete_command(request));
        let answers = call.send_all(commands.collect()).await.into_iter();
        let outcomes = answers.zip(chunk);
        outcomes
            .map(|(answer, request)| delete_outcome(request, answer?))
            .collect()
    }
}

/// One answer for all items.
fn all(answer: Result<Reply, Failure>, items: usize) -> Vec<Result<Outcome>> {
    let outcome = answer.map_err(Error::from).map(|_| applied());
    vec![outcome; items]
}

/// Whether each key by itself may have another answer: one of them is forbidden, or all together are too much.
fn for_one_key(answer: &Result<Reply, Failure>) -> bool {
    let Err(failure) = answer else { return false };
    let error = Error::from(failure.clone());
    let kinds = [ErrorKind::PermissionDenied, ErrorKind::ValueTooLarge];
    kinds.contains(&error.kind()) && !error.outcome_unknown()
}
