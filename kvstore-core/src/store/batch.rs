//! The operations on many keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::KeyValueStore;
use super::single::unmet_without_condition;
use crate::{
    BatchError, Condition, DeleteRequest, Error, ErrorKind, Input, Key, Outcome, Result,
    SetOptions, SetRequest,
};

impl<V: 'static> KeyValueStore<V> {
    /// Gets many values, in the order asked; `None` for each missing key. The empty batch asks nothing.
    ///
    /// ```
    /// # use kvstore_core::{KeyValueStore, Result};
    /// # async fn example(store: KeyValueStore<String>) -> Result<()> {
    /// let found: Vec<Option<String>> = store.get_many(["a", "b"]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When an item fails: then [`BatchError`] has every item's result, each as [`get`](Self::get) answers.
    pub async fn get_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<V>>, BatchError<Option<V>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let checked: Vec<_> = keys.iter().map(|key| self.full_key(key.as_ref())).collect();
        let sent: Vec<_> = checked
            .iter()
            .flatten()
            .map(|full| self.request(full))
            .collect();
        let answers = match sent.is_empty() {
            true => Vec::new(),
            false => self.shared.provider.get_many(&sent).await,
        };
        let mut answers = complete(answers, sent.len()).into_iter();
        drop(sent);
        let result = |(key, checked): (&K, Result<Cow<'_, str>>)| {
            let found = checked.and_then(|_| next(&mut answers));
            let decoded =
                found.and_then(|found| found.map(|stored| self.decode(stored)).transpose());
            decoded.map_err(|error| self.fail(error, "get_many", Some(key.as_ref())))
        };
        let results = keys.iter().zip(checked).map(result).collect();
        BatchError::new(results)
    }

    /// Stores many values, each with the same options. Of a key that comes twice the last value wins; both
    /// have its result.
    ///
    /// # Errors
    /// When an item fails: then [`BatchError`] has every item's result, each as [`set_with`](Self::set_with)
    /// answers. The others are stored.
    pub async fn set_many<'v, K: AsRef<str>, I: Into<Input<'v, V>>>(
        &self,
        items: impl IntoIterator<Item = (K, I)>,
        options: SetOptions,
    ) -> Result<(), BatchError<()>>
    where
        V: 'v,
    {
        let each = |(key, value)| (key, (value, options, None));
        let (keys, writes) = items.into_iter().map(each).unzip();
        let Err(batch) = self.write_many(keys, writes, "set_many").await else {
            return Ok(());
        };
        let results = batch.into_results().into_iter();
        BatchError::new(results.map(|result| result.map(drop)).collect()).map(drop)
    }

    /// Stores many values, each with options and a condition of its own; the answers say which were applied. Of
    /// a key that comes twice the last item is the one that is tried, and both have its result.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kvstore_core::{Condition, KeyValueStore, Result, SetOptions};
    /// # async fn example(store: KeyValueStore<String>) -> Result<()> {
    /// let (plain, day) = (SetOptions::new(), SetOptions::new().ttl(Duration::from_secs(86_400)));
    /// let items = [("a", "1", plain, Some(Condition::Absent)), ("b", "2", day, None)];
    /// let outcomes = store.set_each(items).await?;
    /// assert!(outcomes[1].is_applied());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When an item fails: then [`BatchError`] has every item's result, each as [`set_if`](Self::set_if)
    /// answers. The others are done.
    pub async fn set_each<'v, K: AsRef<str>, I: Into<Input<'v, V>>>(
        &self,
        items: impl IntoIterator<Item = (K, I, SetOptions, Option<Condition>)>,
    ) -> Result<Vec<Outcome>, BatchError<Outcome>>
    where
        V: 'v,
    {
        let each = |(key, value, options, condition)| (key, (value, options, condition));
        let (keys, writes) = items.into_iter().map(each).unzip();
        self.write_many(keys, writes, "set_each").await
    }

    async fn write_many<'v, K: AsRef<str>, I: Into<Input<'v, V>>>(
        &self,
        keys: Vec<K>,
        writes: Vec<(I, SetOptions, Option<Condition>)>,
        operation: &'static str,
    ) -> Result<Vec<Outcome>, BatchError<Outcome>>
    where
        V: 'v,
    {
        let checked: Vec<_> = keys.iter().map(|key| self.full_key(key.as_ref())).collect();
        let mut sent: Vec<SetRequest<'_>> = Vec::with_capacity(keys.len());
        // Where each key stands in what is sent, so that none is sent twice.
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
        let mut places: Vec<Result<usize>> = Vec::with_capacity(keys.len());
        for (full, (value, options, condition)) in checked.iter().zip(writes) {
            let request = full.as_ref().map_err(Error::clone).and_then(|full| {
                self.check_options(options, condition.as_ref())?;
                let value = self.encode(value.into())?;
                let mut request = SetRequest::new(Key(full), self.shared.format, value)
                    .with_expiry(options.expiry);
                request.condition = condition;
                Ok(request)
            });
            places.push(
                request.map(|request| match known.entry(request.key.as_str()) {
                    Entry::Occupied(place) => {
                        sent[*place.get()] = request;
                        *place.get()
                    }
                    Entry::Vacant(free) => {
                        let place = *free.insert(sent.len());
                        sent.push(request);
                        place
                    }
                }),
            );
        }
        let answers = match sent.is_empty() {
            true => Vec::new(),
            false => self.shared.provider.set_many(&sent).await,
        };
        let answers = complete(answers, sent.len());
        let result = |(key, place): (&K, Result<usize>)| {
            let written = place.and_then(|place| match (&answers[place], &sent[place].condition) {
                (Ok(Outcome::Unmet), None) => Err(unmet_without_condition()),
                (answer, _) => answer.clone(),
            });
            written.map_err(|error| self.fail(error, operation, Some(key.as_ref())))
        };
        let results = keys.iter().zip(places).map(result).collect();
        BatchError::new(results)
    }

    /// Deletes many keys; missing ones are no errors.
    ///
    /// # Errors
    /// When an item fails: then [`BatchError`] has every item's result. The others are deleted.
    pub async fn delete_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), BatchError<()>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let checked: Vec<_> = keys.iter().map(|key| self.full_key(key.as_ref())).collect();
        let request = |full| DeleteRequest::new(Key(full));
        let sent: Vec<_> = checked.iter().flatten().map(|full| request(full)).collect();
        let answers = match sent.is_empty() {
            true => Vec::new(),
            false => self.shared.provider.delete_many(&sent).await,
        };
        let mut answers = complete(answers, sent.len()).into_iter();
        drop(sent);
        let result = |(key, checked): (&K, Result<Cow<'_, str>>)| {
            let deleted = checked.and_then(|_| applied(next(&mut answers)));
            deleted.map_err(|error| self.fail(error, "delete_many", Some(key.as_ref())))
        };
        let results = keys.iter().zip(checked).map(result).collect();
        BatchError::new(results).map(drop)
    }
}

/// The provider's answers, as many as there were requests: a provider that answers more or fewer cannot be
/// matched with them.
fn complete<T: Clone>(answers: Vec<Result<T>>, asked: usize) -> Vec<Result<T>> {
    if answers.len() == asked {
        return answers;
    }
    let message = format!("the provider answered {} of {asked} items", answers.len());
    let error = Error::new(ErrorKind::Other, message).with_outcome_unknown();
    vec![Err(error); asked]
}

fn next<T>(answers: &mut impl Iterator<Item = Result<T>>) -> Result<T> {
    answers
        .next()
        .unwrap_or_else(|| Err(ErrorKind::Other.into()))
}

fn applied(outcome: Result<Outcome>) -> Result<()> {
    match outcome? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Unmet => Err(unmet_without_condition()),
    }
}
