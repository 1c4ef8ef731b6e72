//! Many keys at once: one request a server, or a few.

use futures_util::future::{join, join_all};
use kvstore_core::{Bytes, DeleteRequest, Error, GetRequest, Outcome, Result, SetRequest, Version};

use crate::clock::{Clock, Span, span};
use crate::command::{self, Commands, Mode};
use crate::error;
use crate::names::Name;
use crate::provider::{MemcachedProvider, mode, outcome};
use crate::reply::Reply;
use crate::servers::{Call, Route};

/// How many keys, and about how many bytes, are asked for or sent in one piece, so that other calls come in
/// between.
const MAX_ITEMS: usize = 1000;
const MAX_BYTES: usize = 4 << 20;

/// How many bytes of names are in one `get`: up to here, a server reads them into the buffer that it has.
const MAX_LINE: usize = 2000;

/// An item that is to be asked: its place in the batch, its name, and what is asked of it.
struct Item<T> {
    place: usize,
    name: Name,
    what: T,
}

/// What is to be stored.
struct Stored<'a> {
    value: &'a Bytes,
    span: Span,
    mode: Mode,
}

/// Items by the ways to their servers: a few.
type Groups<T> = Vec<(Route, Vec<Item<T>>)>;

/// The results of some items, with their places in the batch.
type Results<T> = Vec<(usize, Result<T>)>;

impl MemcachedProvider {
    pub(crate) async fn get_batch(
        &self,
        requests: &[GetRequest<'_>],
    ) -> Vec<Result<Option<Bytes>>> {
        let call = match self.call() {
            Ok(call) => call,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let mut groups = Groups::new();
        for (place, request) in requests.iter().enumerate() {
            call.add(&mut groups, place, request.key.as_str(), ());
        }
        let asked = groups
            .iter()
            .map(|(route, items)| call.get_all(*route, items));
        in_order(requests.len(), join_all(asked).await.into_iter().flatten())
    }

    pub(crate) async fn set_batch(&self, requests: &[SetRequest<'_>]) -> Vec<Result<Outcome>> {
        let call = match self.call() {
            Ok(call) => call,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let (mut groups, mut keeping, mut known) = (Groups::new(), Vec::new(), Vec::new());
        for (place, request) in requests.iter().enumerate() {
            let (key, value) = (request.key.as_str(), &request.value);
            match (mode(request.condition.as_ref()), span(request.expiry)) {
                (Err(error), _) | (_, Err(error)) => known.push((place, Err(error))),
                (Ok(None), _) => known.push((place, Ok(Outcome::Unmet))),
                (Ok(Some(mode)), Ok(Some(span))) => {
                    let stored = Stored { value, span, mode };
                    call.add(&mut groups, place, key, stored);
                }
                // These ask twice, so each goes its own way; what they ask at the same time is sent together.
                (Ok(Some(mode)), Ok(None)) => keeping.push((place, call.name(key), mode)),
            }
        }
        let stored = groups
            .iter()
            .map(|(route, items)| call.store_all(*route, items));
        let kept = keeping.iter().map(async |(place, name, mode)| {
            let value = &requests[*place].value;
            (*place, call.set_keeping_expiry(name, value, *mode).await)
        });
        let (stored, kept) = join(join_all(stored), join_all(kept)).await;
        let results = stored.into_iter().flatten().chain(kept).chain(known);
        in_order(requests.len(), results)
    }

    pub(crate) async fn delete_batch(
        &self,
        requests: &[DeleteRequest<'_>],
    ) -> Vec<Result<Outcome>> {
        let call = match self.call() {
            Ok(call) => call,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let (mut groups, mut known) = (Groups::new(), Vec::new());
        for (place, request) in requests.iter().enumerate() {
            let version = request.version.as_ref().map(Version::as_u64);
            match version {
                Some(None) => known.push((place, Ok(Outcome::Unmet))),
                _ => call.add(&mut groups, place, request.key.as_str(), version.flatten()),
            }
        }
        let write = |commands: &mut Commands, item: &Item<Option<u64>>| {
            commands.delete(&item.name, item.what);
            Ok(())
        };
        let read = |item: &Item<Option<u64>>, reply| match reply {
            Reply::Done(_) => Ok(Outcome::Applied(None)),
            Reply::Missing | Reply::Changed if item.what.is_some() => Ok(Outcome::Unmet),
            Reply::Missing => Ok(Outcome::Applied(None)),
            Reply::Refused(words) => Err(error::refused(&words)),
            _ => Err(error::not_understood()),
        };
        let asked = groups
            .iter()
            .map(|(route, items)| call.ask_all(*route, items, write, read));
        let asked = join_all(asked).await;
        in_order(requests.len(), asked.into_iter().flatten().chain(known))
    }
}

/// The results as they were asked for.
fn in_order<T>(count: usize, results: impl Iterator<Item = (usize, Result<T>)>) -> Vec<Result<T>> {
    let mut all: Vec<Option<Result<T>>> = (0..count).map(|_| None).collect();
    for (place, result) in results {
        all[place] = Some(result);
    }
    let result = |result: Option<_>| result.unwrap_or_else(|| Err(error::not_understood()));
    all.into_iter().map(result).collect()
}

/// The same error for all items.
fn all_failed<'a, I: 'a, T>(
    items: impl Iterator<Item = &'a Item<I>>,
    error: &Error,
) -> impl Iterator<Item = (usize, Result<T>)> {
    items.map(|item| (item.place, Err(error.clone())))
}

/// Items by the lines in which they are asked for.
fn lines(mut items: &[Item<()>]) -> Vec<&[Item<()>]> {
    let mut lines = Vec::new();
    while !items.is_empty() {
        let mut length = 0;
        let fits = |item: &&Item<()>| {
            length += item.name.text.len() + 1;
            length <= MAX_LINE
        };
        let (line, rest) = items.split_at(items.iter().take_while(fits).count());
        lines.push(line);
        items = rest;
    }
    lines
}

/// What was found of the items of a line: those that are missing are left out of the answer.
fn found(line: &[Item<()>], reply: Reply) -> Results<Option<Bytes>> {
    let mut found = match reply {
        Reply::List(_, found) => found,
        Reply::Refused(words) => return all_failed(line.iter(), &error::refused(&words)).collect(),
        _ => return all_failed(line.iter(), &error::not_understood()).collect(),
    };
    let results: Vec<_> = line
        .iter()
        .map(|item| {
            let own = found.next_if(&item.name.text);
            let value = own.map(|(value, flags)| item.name.value(value, Some(flags)));
            (item.place, value.transpose())
        })
        .collect();
    // One that was not asked for, so none can be relied on.
    match found.is_empty() {
        false => all_failed(line.iter(), &error::not_understood()).collect(),
        true => results,
    }
}

impl Call<'_> {
    fn add<T>(&self, groups: &mut Groups<T>, place: usize, key: &str, what: T) {
        let name = self.name(key);
        let route = self.route(&name);
        let item = Item { place, name, what };
        // There are few ways, so this is quicker than to hash them.
        match groups.iter_mut().find(|(known, _)| *known == route) {
            Some((_, items)) => items.push(item),
            None => groups.push((route, vec![item])),
        }
    }

    /// Gets the items of one server.
    async fn get_all(&self, route: Route, items: &[Item<()>]) -> Results<Option<Bytes>> {
        let mut results = Vec::with_capacity(items.len());
        for items in items.chunks(MAX_ITEMS) {
            let lines = lines(items);
            let mut commands = Commands::with_capacity(lines.len() * (MAX_LINE + 5));
            for line in &lines {
                commands.get_all(line.iter().map(|item| &item.name));
            }
            let (replies, error) = self.ask_each(route, commands).await;
            let mut replies = replies.into_iter();
            let error = error.unwrap_or_else(error::not_understood);
            for line in lines {
                match replies.next() {
                    Some(reply) => results.extend(found(line, reply)),
                    None => results.extend(all_failed(line.iter(), &error)),
                }
            }
        }
        results
    }

    /// Stores the items of one server.
    async fn store_all(&self, route: Route, items: &[Item<Stored<'_>>]) -> Results<Outcome> {
        let (limit, clock, takes_many) = match self.limits(route, items).await {
            Ok(limits) => limits,
            Err(error) => return all_failed(items.iter(), &error).collect(),
        };
        let write = |commands: &mut Commands, item: &Item<Stored<'_>>| {
            let Stored { value, span, mode } = item.what;
            if command::item_size(&item.name, value) > limit {
                return Err(command::too_large(limit));
            }
            commands.set(&item.name, value, span.ttl(clock)?, mode);
            Ok(())
        };
        let read = |item: &Item<Stored<'_>>, reply| outcome(reply, item.what.mode);
        if takes_many {
            return self.ask_all(route, items, write, read).await;
        }
        let one = |item| self.ask_all(route, std::slice::from_ref(item), write, read);
        let stored = join_all(items.iter().map(one)).await;
        stored.into_iter().flatten().collect()
    }

    /// What has to be known of the server before items are stored there.
    async fn limits(
        &self,
        route: Route,
        items: &[Item<Stored<'_>>],
    ) -> Result<(usize, Option<Clock>, bool)> {
        let (server, lane) = (self.server(route)?, route.lane);
        let limit = server.item_size_max(lane, self.deadline).await?;
        let clock = match items.iter().find(|item| item.what.span.needs_clock()) {
            Some(_) => Some(server.clock(lane, self.deadline).await?),
            None => None,
        };
        Ok((limit, clock, server.takes_many()))
    }

    /// Asks one server, piece by piece. An item that cannot be written fails alone.
    async fn ask_all<I, T>(
        &self,
        route: Route,
        items: &[Item<I>],
        write: impl Fn(&mut Commands, &Item<I>) -> Result<()>,
        read: impl Fn(&Item<I>, Reply) -> Result<T>,
    ) -> Results<T> {
        let mut results = Vec::with_capacity(items.len());
        let mut items = items.iter().peekable();
        while items.peek().is_some() {
            let (mut commands, mut asked) = (Commands::default(), Vec::new());
            while asked.len() < MAX_ITEMS
                && commands.len() < MAX_BYTES
                && let Some(item) = items.next()
            {
                match write(&mut commands, item) {
                    Ok(()) => asked.push(item),
                    Err(error) => results.push((item.place, Err(error))),
                }
            }
            if asked.is_empty() {
                continue;
            }
            let (replies, error) = self.ask_each(route, commands).await;
            let mut replies = replies.into_iter();
            let error = error.unwrap_or_else(error::not_understood);
            results.extend(asked.into_iter().map(|item| {
                let reply = replies.next().ok_or_else(|| error.clone());
                (item.place, reply.and_then(|reply| read(item, reply)))
            }));
        }
        results
    }
}
