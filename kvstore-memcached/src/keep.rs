//! Storing a value and keeping the expiry, which Memcached has no command for.
//!
//! The version and the time left are read, and the value is stored at that version, with the same end. The end is a date by
//! the server's clock, which is asked in the same breath: told as a time, it would move by the time between the
//! two, each time that the key is written.

use kvstore_core::{Outcome, Result};

use crate::clock;
use crate::command::{Ask, Commands, Mode, Ttl};
use crate::error;
use crate::names::Name;
use crate::reply::Reply;
use crate::servers::Call;

impl Call<'_> {
    pub(crate) async fn set_keeping_expiry(
        &self,
        name: &Name,
        value: &[u8],
        mode: Mode,
    ) -> Result<Outcome> {
        loop {
            let (ttl, next, only_on) = match (self.state(name).await?, mode) {
                (None, Mode::IfPresent | Mode::IfVersion(_)) => return Ok(Outcome::Unmet),
                (None, Mode::Always | Mode::IfAbsent) => (Ttl::Never, Mode::IfAbsent, None),
                (Some(_), Mode::IfAbsent) => return Ok(Outcome::Unmet),
                (Some(state), Mode::IfVersion(version)) if state.version != version => {
                    return Ok(Outcome::Unmet);
                }
                (Some(state), _) => (
                    state.ends,
                    Mode::IfVersion(state.version),
                    Some(state.connection),
                ),
            };
            let outcome = self.store(name, value, ttl, next, only_on).await?;
            match (outcome, mode) {
                // Somebody was quicker: it is another version now, there, or gone. Or it is another connection.
                (Outcome::Unmet, Mode::Always | Mode::IfPresent | Mode::IfVersion(_)) => {}
                // Nobody asked for the version.
                (Outcome::Applied(_), Mode::Always) => return Ok(Outcome::Applied(None)),
                (outcome, _) => return Ok(outcome),
            }
        }
    }

    async fn state(&self, name: &Name) -> Result<Option<State>> {
        let mut commands = Commands::with_capacity(name.text.len());
        commands.get(name, Ask::State);
        // After the item, so that a tick of the clock in between makes the end later, and not earlier.
        commands.stats();
        let replies = self.ask(self.route(name), commands).await?;
        match <[Reply; 2]>::try_from(replies) {
            Ok([Reply::Missing, _]) => Ok(None),
            Ok([Reply::Done(item), Reply::List(stats, _)]) => {
                let (Some(version), Some(left)) = (item.version, item.left) else {
                    return Err(error::not_understood());
                };
                Ok(Some(State {
                    version,
                    ends: clock::end(clock::seconds(&stats)?, left),
                    connection: item.connection,
                }))
            }
            Ok([Reply::Refused(words), _] | [_, Reply::Refused(words)]) => {
                Err(error::refused(&words))
            }
            _ => Err(error::not_understood()),
        }
    }
}

/// A key that is there.
struct State {
    version: u64,
    ends: Ttl,
    /// That it was read on.
    connection: u64,
}
