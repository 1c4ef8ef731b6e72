//! The commands that Upstash documents, and what it says to others.

use super::super::resp::Answer;

/// A command: its name and arguments.
pub(super) type Command = Vec<Vec<u8>>;

/// The documented commands that read. A bar is between a command and its subcommand.
const READ: &str = "
    BITCOUNT BITFIELD_RO BITPOS GETBIT
    ECHO PING
    DUMP EXISTS EXPIRETIME KEYS MEMORY|USAGE PEXPIRETIME PTTL RANDOMKEY SCAN TOUCH TTL TYPE
    GEODIST GEOHASH GEOPOS GEORADIUS_RO GEORADIUSBYMEMBER_RO GEOSEARCH
    HEXISTS HEXPIRETIME HGET HGETALL HKEYS HLEN HMGET HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSTRLEN HTTL HVALS
    PFCOUNT
    JSON.ARRINDEX JSON.ARRLEN JSON.GET JSON.MGET JSON.OBJKEYS JSON.OBJLEN JSON.RESP JSON.STRLEN JSON.TYPE
    LINDEX LLEN LPOS LRANGE
    DBSIZE
    SCARD SDIFF SINTER SINTERCARD SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER SSCAN SUNION
    ZCARD ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK
    ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION
    XINFO|CONSUMERS XINFO|GROUPS XINFO|STREAM XLEN XPENDING XRANGE XREAD XREVRANGE
    DIGEST GET GETRANGE MGET STRLEN
    EVAL_RO EVALSHA_RO FCALL_RO
    SEARCH.AGGREGATE SEARCH.COUNT SEARCH.DESCRIBE SEARCH.LISTALIASES SEARCH.LISTINDEXES SEARCH.QUERY
";

/// The documented commands that the token for reading alone does not permit, though they read.
const POWERFUL: &str = "KEYS SCAN";

/// The other documented commands that one request can carry.
const OTHER: &str = "
    BITFIELD BITOP SETBIT
    FCALL FUNCTION|DELETE FUNCTION|FLUSH FUNCTION|KILL FUNCTION|LIST FUNCTION|LOAD FUNCTION|STATS
    COPY DEL EXPIRE EXPIREAT PERSIST PEXPIRE PEXPIREAT RENAME RENAMENX RESTORE UNLINK WAIT WAITAOF
    GEOADD GEORADIUS GEORADIUSBYMEMBER GEOSEARCHSTORE
    HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX HINCRBY HINCRBYFLOAT HMSET HPERSIST HPEXPIRE HPEXPIREAT HSET HSETEX HSETNX
    PFADD PFMERGE
    JSON.ARRAPPEND JSON.ARRINSERT JSON.ARRPOP JSON.ARRTRIM JSON.CLEAR JSON.DEBUG JSON.DEL JSON.FORGET JSON.MERGE
    JSON.MSET JSON.NUMINCRBY JSON.NUMMULTBY JSON.SET JSON.STRAPPEND JSON.TOGGLE
    LINSERT LMOVE LMPOP LPOP LPUSH LPUSHX LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX
    PUBLISH PUBSUB
    EVAL EVALSHA SCRIPT|EXISTS SCRIPT|FLUSH SCRIPT|KILL SCRIPT|LOAD
    SEARCH.ALIASADD SEARCH.ALIASDEL SEARCH.CREATE SEARCH.DROP SEARCH.REINDEX SEARCH.WAITINDEXING
    ACL|CAT ACL|DELUSER ACL|GENPASS ACL|GENTOKEN ACL|GETUSER ACL|LIST ACL|LOAD ACL|LOG ACL|RESTTOKEN ACL|SAVE ACL|SETUSER
    ACL|USERS ACL|WHOAMI COMMAND CONFIG|GET CONFIG|SET FLUSHALL FLUSHDB INFO TIME
    SADD SDIFFSTORE SINTERSTORE SMOVE SPOP SREM SUNIONSTORE
    ZADD ZDIFFSTORE ZINCRBY ZINTERSTORE ZMPOP ZPOPMAX ZPOPMIN ZRANGESTORE ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK
    ZREMRANGEBYSCORE ZUNIONSTORE
    XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL XDELEX XGROUP XREADGROUP XTRIM
    APPEND DECR DECRBY DELEX GETDEL GETEX GETSET INCR INCRBY INCRBYFLOAT MSET MSETNX PSETEX SET SETEX SETNX SETRANGE
";

/// What needs a connection of its own: Upstash has it, by Redis' protocol alone, or under a path of its own.
const CONNECTED: &str = "
    AUTH CLIENT HELLO QUIT RESET SELECT
    DISCARD EXEC MULTI UNWATCH WATCH
    BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN
    MONITOR PSUBSCRIBE PUNSUBSCRIBE SUBSCRIBE UNSUBSCRIBE
";

/// What Upstash has of `CLIENT`, by Redis' protocol.
const CLIENT: &str = "
    CLIENT|GETNAME CLIENT|ID CLIENT|INFO CLIENT|LIST CLIENT|SETINFO CLIENT|SETNAME
";

/// All documented commands, by both protocols.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let lists = [READ, OTHER, CONNECTED, CLIENT].into_iter();
    let all = lists.flat_map(str::split_whitespace);
    all.filter(|name| *name != "CLIENT")
}

/// The one parameter of the server that Upstash shows.
const PARAMETER: &str = "notify-keyspace-events";

/// What the token of a request permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    Read,
}

/// Whether Upstash would carry a command out; the error is its answer.
pub(super) fn check(command: &Command, rights: Rights) -> Result<(), String> {
    let name = word(command, 0).ok_or("ERR empty command")?;
    let sub = word(command, 1).unwrap_or_default();
    let blocks = ["XREAD", "XREADGROUP"].contains(&name.as_str())
        && (1..command.len())
            .map_while(|i| word(command, i).filter(|word| word != "STREAMS"))
            .any(|word| word == "BLOCK");
    if blocks || is_in(CONNECTED, &name) {
        return Err(format!(
            "ERR Command \"{name}\" is not allowed in REST or it has a special context path"
        ));
    }
    let full = format!("{name}|{sub}");
    let known = |list| is_in(list, &full) || (!name.contains('|') && is_in(list, &name));
    if !known(READ) && !known(OTHER) {
        let called = if is_container(&name) {
            format!("{name} {sub}").trim_end().to_owned()
        } else {
            name
        };
        return Err(format!(
            "ERR Command is not available: '{called}'. \
             See https://upstash.com/docs/redis/overall/rediscompatibility for details"
        ));
    }
    if rights == Rights::Read && (!known(READ) || known(POWERFUL)) {
        let name = name.to_lowercase();
        return Err(format!(
            "NOPERM this user has no permissions to run the '{name}' command or its subcommand"
        ));
    }
    Ok(())
}

/// What to ask Redis in place of a command, or Upstash's answer where it is another than that of Redis.
pub(super) fn adapt(command: Command) -> Result<Command, Answer> {
    let name = word(&command, 0).unwrap_or_default();
    let sub = word(&command, 1).unwrap_or_default();
    let none = || Answer::Array(Some(Vec::new()));
    let mut parameters = (2..command.len()).filter_map(|i| word(&command, i));
    let shown = |name: &String| name.eq_ignore_ascii_case(PARAMETER);
    match (name.as_str(), sub.as_str()) {
        ("COMMAND", _) => Err(none()),
        ("CONFIG", "GET") if command.len() > 2 => {
            if !parameters.any(|name| shown(&name) || name == "*") {
                return Err(none());
            }
            Ok(["CONFIG", "GET", PARAMETER].map(|word| word.into()).into())
        }
        ("CONFIG", "SET") => match parameters.step_by(2).find(|name| !shown(name)) {
            Some(other) => Err(Answer::Error(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                other.to_lowercase()
            ))),
            None => Ok(command),
        },
        _ => Ok(command),
    }
}

/// A word of a command, in capitals.
fn word(command: &Command, index: usize) -> Option<String> {
    let word = command.get(index)?;
    Some(String::from_utf8_lossy(word).to_uppercase())
}

fn is_in(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|known| known == name)
}

/// Whether the command has subcommands.
fn is_container(name: &str) -> bool {
    const MORE: &str = "CLUSTER DEBUG LATENCY MODULE OBJECT SLOWLOG";
    let begins = |known: &str| {
        known
            .split_once('|')
            .is_some_and(|(first, _)| first == name)
    };
    is_in(MORE, name)
        || [READ, OTHER]
            .iter()
            .any(|list| list.split_whitespace().any(begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        line.split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect()
    }

    fn refusal(line: &str) -> String {
        check(&command(line), Rights::All).expect_err(line)
    }

    #[test]
    fn documented_commands_are_carried_out() {
        for line in [
            "get key",
            "SET key value",
            "Memory Usage key",
            "script LOAD x",
            "xread count 1 streams block 0",
            "pubsub channels",
            "command docs get",
        ] {
            assert_eq!(check(&command(line), Rights::All), Ok(()), "{line}");
        }
    }

    #[test]
    fn others_are_refused_in_upstash_s_words() {
        for (line, name) in [
            ("object encoding key", "OBJECT ENCODING"),
            ("memory stats", "MEMORY STATS"),
            ("function", "FUNCTION"),
            ("debug sleep 1", "DEBUG SLEEP"),
            ("sort key", "SORT"),
            ("get|x key", "GET|X"),
            ("memory|usage key", "MEMORY|USAGE"),
        ] {
            let start = format!("ERR Command is not available: '{name}'. See https://upstash.com/");
            assert!(
                refusal(line).starts_with(&start),
                "{line}: {}",
                refusal(line)
            );
        }
        for line in [
            "multi",
            "client id",
            "select 0",
            "blpop key 0",
            "XREAD count 1 block 0 streams s 0",
        ] {
            assert!(
                refusal(line).ends_with("is not allowed in REST or it has a special context path")
            );
        }
        assert_eq!(
            check(&Command::new(), Rights::All),
            Err("ERR empty command".to_owned())
        );
    }

    #[test]
    fn the_token_for_reading_reads() {
        for line in ["get key", "mget a b", "exists key", "eval_ro x 0"] {
            assert_eq!(check(&command(line), Rights::Read), Ok(()), "{line}");
        }
        for line in ["set key value", "scan 0", "keys *", "eval x 0", "flushall"] {
            let refusal = check(&command(line), Rights::Read).expect_err(line);
            assert!(
                refusal.starts_with("NOPERM this user has no permissions to run the '"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn upstash_s_own_answers() {
        let none = Err(Answer::Array(Some(Vec::new())));
        for line in [
            "command",
            "config get maxmemory*",
            "CONFIG get save appendonly",
        ] {
            assert_eq!(adapt(command(line)), none, "{line}");
        }
        let shown = command("CONFIG GET notify-keyspace-events");
        for line in ["config get *", "config get save NOTIFY-keyspace-events"] {
            assert_eq!(adapt(command(line)), Ok(shown.clone()), "{line}");
        }
        for line in [
            "get key",
            "config set notify-keyspace-events KEA",
            "config get",
        ] {
            assert_eq!(adapt(command(line)), Ok(command(line)), "{line}");
        }
        let refused = adapt(command("config set notify-keyspace-events KEA save x"));
        assert!(matches!(refused, Err(Answer::Error(e)) if e.ends_with("- 'save'")));
    }

    #[test]
    fn no_command_is_listed_twice() {
        let mut all: Vec<_> = [READ, OTHER, CONNECTED]
            .iter()
            .flat_map(|list| list.split_whitespace())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
