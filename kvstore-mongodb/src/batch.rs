//! Sets, deletes and reads of many keys: one command for up to a thousand of them.

use std::collections::HashMap;
use std::sync::Arc;

use kvstore_core::{Bytes, DeleteRequest, Error, GetRequest, Outcome, Result, SetRequest, Version};
use mongodb::bson::Document;

use crate::client::Client;
use crate::command::Set;
use crate::error::{code, code_in, not_understood, refused, unacknowledged};
use crate::found::{Found, each};
use crate::value::{Encoded, decode};

/// How many keys a command has at most: a deadline holds for a command.
const MAX_KEYS: usize = 1000;

/// How many bytes, about. The server takes 16 MiB and a little; a single value may have all of that.
const MAX_BYTES: usize = 12 << 20;

/// How often a set is tried when another client inserts the key at the same moment; then it is there.
const ATTEMPTS: usize = 5;

impl Client {
    /// Sets keys, and answers for each.
    pub(crate) async fn set(self: &Arc<Self>, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let mut answers: Vec<Result<Outcome>> = Vec::with_capacity(requests.len());
        let mut sets = Vec::with_capacity(requests.len());
        for request in requests {
            let value = Encoded::new(
                request.format,
                request.value.clone(),
                self.config.max_value_len,
            );
            let set = value.and_then(|value| Set::new(request, value));
            answers.push(match set {
                Ok(set) => {
                    let made = Version::new(&set.version.to_hex());
                    sets.push((answers.len(), set));
                    made.map(|version| Outcome::Applied(Some(version)))
                }
                Err(error) => Err(error),
            });
        }
        let mut broken = None;
        for chunk in chunks(sets, |(_, set)| set.len()) {
            let (places, sets): (Vec<_>, Vec<_>) = chunk.into_iter().unzip();
            if let Some(error) = &broken {
                places
                    .iter()
                    .for_each(|&place| answers[place] = Err(Error::clone(error)));
                continue;
            }
            let answered = self.set_chunk(sets).await;
            broken = not_worth_going_on(answered.iter().filter_map(|answer| answer.as_ref().err()));
            for (place, answer) in places.into_iter().zip(answered) {
                // What it is when it is applied stands there already.
                if !matches!(answer, Ok(true)) {
                    answers[place] = answer.map(|_| Outcome::Unmet);
                }
            }
        }
        answers
    }

    /// Sets keys by one command, and by another those that another client was just inserting; whether they
    /// were applied.
    async fn set_chunk(self: &Arc<Self>, mut sets: Vec<Set<'_>>) -> Vec<Result<bool>> {
        let mut answers: Vec<Result<bool>> = sets.iter().map(|_| Ok(true)).collect();
        let mut places: Vec<usize> = (0..sets.len()).collect();
        let deadline = self.deadline();
        for attempt in 1..=ATTEMPTS {
            let answer = match self.write(self.update(&sets), sets.len(), deadline).await {
                Ok(answer) => answer,
                Err(error) => {
                    places
                        .iter()
                        .for_each(|&place| answers[place] = Err(error.clone()));
                    break;
                }
            };
            if let Some(error) = write_concern_error(&answer) {
                places
                    .iter()
                    .for_each(|&place| answers[place] = Err(error.clone()));
            }
            let mut again = Vec::new();
            for (index, code) in write_errors(&answer) {
                let Some(&place) = places.get(index) else {
                    continue;
                };
                answers[place] = match code {
                    code::SIZE_OF_NO_ARRAY => Ok(false),
                    code::DUPLICATE_KEY if attempt < ATTEMPTS => {
                        again.push(index);
                        Ok(true)
                    }
                    code => Err(refused(code)),
                };
            }
            if again.is_empty() {
                break;
            }
            places = again.iter().map(|&index| places[index]).collect();
            let mut index = 0;
            sets.retain(|_| {
                index += 1;
                again.contains(&(index - 1))
            });
        }
        answers
    }

    /// Deletes keys whatever they hold, and answers for each.
    pub(crate) async fn delete_all(
        self: &Arc<Self>,
        requests: Vec<&DeleteRequest<'_>>,
    ) -> Vec<Result<Outcome>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut broken = None;
        for chunk in chunks(requests, |request| request.key.as_str().len() + 64) {
            if let Some(error) = &broken {
                answers.extend(chunk.iter().map(|_| Err(Error::clone(error))));
                continue;
            }
            let start = answers.len();
            let deleted = self
                .write(self.delete(&chunk), chunk.len(), self.deadline())
                .await;
            let answer = deleted.and_then(|answer| match write_concern_error(&answer) {
                Some(error) => Err(error),
                None => Ok(answer),
            });
            match answer {
                Ok(answer) => {
                    answers.extend(chunk.iter().map(|_| Ok(Outcome::Applied(None))));
                    for (index, code) in write_errors(&answer) {
                        if let Some(answer) = answers.get_mut(start + index) {
                            *answer = Err(refused(code));
                        }
                    }
                }
                Err(error) => {
                    broken = not_worth_going_on([&error]);
                    answers.extend(chunk.iter().map(|_| Err(error.clone())));
                }
            }
        }
        answers
    }

    /// Deletes a version of a key.
    pub(crate) async fn delete_version(
        self: &Arc<Self>,
        request: &DeleteRequest<'_>,
    ) -> Result<Outcome> {
        let answer = self
            .write(self.delete(&[request]), 1, self.deadline())
            .await?;
        Ok(match is_done(&answer)? {
            true => Outcome::Applied(None),
            false => Outcome::Unmet,
        })
    }

    /// Gets keys, and answers for each.
    pub(crate) async fn get(
        self: &Arc<Self>,
        requests: &[GetRequest<'_>],
    ) -> Vec<Result<Option<Bytes>>> {
        let mut places: HashMap<&str, Vec<usize>> = HashMap::with_capacity(requests.len());
        let mut keys = Vec::with_capacity(requests.len());
        for (place, request) in requests.iter().enumerate() {
            let key = request.key.as_str();
            places
                .entry(key)
                .or_insert_with(|| {
                    keys.push(key);
                    Vec::with_capacity(1)
                })
                .push(place);
        }
        let mut answers: Vec<Result<Option<Bytes>>> = requests.iter().map(|_| Ok(None)).collect();
        let mut broken = None;
        for chunk in chunks(keys, |key| key.len() + 16) {
            let read = match &broken {
                Some(error) => Err(Error::clone(error)),
                None => {
                    let command = |fields| self.find_many(&chunk, fields);
                    self.read_found(command, self.deadline()).await
                }
            };
            let looked = read.and_then(|batches| {
                each(&batches, |document| {
                    let found = Found::new(document)?;
                    let Some(found) = found.live() else {
                        return Ok(());
                    };
                    for &place in found.id.and_then(|id| places.get(id)).into_iter().flatten() {
                        answers[place] = decode(requests[place].format, found.value).map(Some);
                    }
                    Ok(())
                })
            });
            if let Err(error) = looked {
                for &place in chunk.iter().filter_map(|key| places.get(key)).flatten() {
                    answers[place] = Err(error.clone());
                }
                broken = not_worth_going_on([&error]);
            }
        }
        answers
    }
}

/// Whether the one document that a command was for was there; an error where its write was refused.
pub(crate) fn is_done(answer: &Document) -> Result<bool> {
    if let Some((_, code)) = write_errors(answer).next() {
        return Err(refused(code));
    }
    if let Some(error) = write_concern_error(answer) {
        return Err(error);
    }
    Ok(answer.get_i32("n").map_err(|_| not_understood())? > 0)
}

/// Which of a command's documents were refused, and by which code.
fn write_errors(answer: &Document) -> impl Iterator<Item = (usize, i32)> {
    let errors = answer
        .get_array("writeErrors")
        .map(Vec::as_slice)
        .unwrap_or_default();
    errors.iter().filter_map(|error| {
        let error = error.as_document()?;
        let index = usize::try_from(error.get_i32("index").ok()?).ok()?;
        Some((index, code_in(error)))
    })
}

pub(crate) fn write_concern_error(answer: &Document) -> Option<Error> {
    let error = answer.get_document("writeConcernError").ok()?;
    Some(unacknowledged(Some(code_in(error))))
}

/// What the rest of a batch is answered with, unsent, when the server does not serve: each command of it might
/// use up a deadline of its own.
fn not_worth_going_on<'a>(errors: impl IntoIterator<Item = &'a Error>) -> Option<Error> {
    let error = errors.into_iter().find(|error| error.is_retryable())?;
    let message = "not sent, since an earlier command of the same batch failed";
    Some(Error::new(error.kind(), message).with_source(error.clone()))
}

/// Cuts a batch into what a command can hold.
fn chunks<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let len = bytes(&item);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < MAX_KEYS && len <= left => chunk.push(item),
            _ => {
                left = MAX_BYTES;
                chunks.push(vec![item]);
            }
        }
        left = left.saturating_sub(len);
    }
    chunks
}
