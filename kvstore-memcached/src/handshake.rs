//! What is made sure of on each new connection, before any call goes by it.

use kvstore_core::{ErrorKind, Result};

use crate::command::Commands;
use crate::config::Credentials;
use crate::connection::{Connection, Replies};
use crate::error::Connecting;
use crate::reply::{Reply, Stats};

/// The first release whose `ms` is the one of today, and tells the version that it made. An older one would take the
/// value of an `ms` for commands.
const OLDEST: [u32; 3] = [1, 6, 13];

/// The smallest items that a server may be limited to.
const SMALLEST: usize = 16 * 1024;

/// What a server says of itself.
pub(crate) struct Facts {
    pub(crate) item_size_max: usize,
}

/// Logs in if need be, and asks the server what it is.
pub(crate) async fn shake_hands(connection: &Connection, at: Connecting<'_>) -> Result<Facts> {
    // One at a time: a server that wants a login answers only the first of what comes together.
    let mut version = ask(connection, at, Commands::version).await?;
    let wants_login =
        matches!(&version, Reply::Refused(words) if words.contains("unauthenticated"));
    match (&at.config.credentials, wants_login) {
        (None, false) => {}
        (None, true) => {
            let message = "it wants a user and a password";
            return Err(at.error(ErrorKind::Unauthenticated, message));
        }
        (Some(_), false) => {
            // It would store them, for everyone to read.
            let message = "it asks for no user and password, as it was started without `-Y`, and there are some";
            return Err(at.error(ErrorKind::InvalidConfig, message));
        }
        (Some(Credentials { user, password }), true) => {
            let login = |commands: &mut Commands| commands.login(user, password);
            match ask(connection, at, login).await? {
                Reply::LoggedIn => {}
                Reply::Refused(words) => return Err(at.refused(&words)),
                _ => return Err(at.not_understood()),
            }
            version = ask(connection, at, Commands::version).await?;
        }
    }
    match version {
        Reply::Version(version) if numbers(&version).is_some_and(|version| version >= OLDEST) => {}
        Reply::Version(_) => {
            let message = "it is older than Memcached 1.6.13, whose meta commands are spoken";
            return Err(at.error(ErrorKind::InvalidConfig, message));
        }
        Reply::Refused(words) => return Err(at.refused(&words)),
        _ => return Err(at.not_understood()),
    }
    match ask(connection, at, Commands::settings).await? {
        Reply::List(settings, _) => facts(at, &settings),
        Reply::Refused(words) => Err(at.refused(&words)),
        _ => Err(at.not_understood()),
    }
}

async fn ask(
    connection: &Connection,
    at: Connecting<'_>,
    command: impl FnOnce(&mut Commands),
) -> Result<Reply> {
    let mut commands = Commands::default();
    command(&mut commands);
    let replies = Replies::default();
    let asked = connection.ask(&commands.request(), &replies).await;
    asked.map_err(|lost| at.lost(&lost.why))?;
    replies
        .take()
        .into_iter()
        .next()
        .ok_or_else(|| at.not_understood())
}

fn facts(at: Connecting<'_>, settings: &Stats) -> Result<Facts> {
    let unfit = |message| Err(at.error(ErrorKind::InvalidConfig, message));
    if settings.get("cas_enabled") != Some("yes") {
        return unfit(
            "it was started with `-C`, which takes the versions away that conditions stand on; start it without",
        );
    }
    let item_size_max = settings.number("item_size_max");
    match item_size_max.map(usize::try_from) {
        Some(Ok(item_size_max)) if item_size_max >= SMALLEST => Ok(Facts { item_size_max }),
        Some(_) => unfit("its items are limited (`-I`) to less than 16 KiB"),
        None => Err(at.not_understood()),
    }
}

/// `1.6.18`, or `1.6.18-beta` and the like.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut numbers = version.splitn(3, '.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit());
        part[..end.unwrap_or(part.len())].parse().ok()
    });
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (text, version) in [
            ("1.6.18", Some([1, 6, 18])),
            ("1.6.18-5-gabc", Some([1, 6, 18])),
            ("1.10.0.1", Some([1, 10, 0])),
            ("1.6", None),
            ("", None),
            ("x.6.18", None),
            ("1.6.x", None),
            ("99999999999.1.1", None),
        ] {
            assert_eq!(numbers(text), version, "{text}");
        }
        assert!([1, 6, 9] < OLDEST && [1, 10, 0] > OLDEST && [2, 0, 0] > OLDEST);
    }
}
