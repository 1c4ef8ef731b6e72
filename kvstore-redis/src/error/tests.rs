use super::*;

fn refused(text: &'static str) -> Error {
    Failure::Refused(Refusal::new(text)).into()
}

#[test]
fn the_servers_codes_have_kinds() {
    for (text, kind) in [
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            ErrorKind::Decode,
        ),
        (
            "WRONGTYPE Operation against … script: 62, on @user_script:1.",
            ErrorKind::Decode,
        ),
        (
            "ERR Error running script (call to f_62): @user_script:1: WRONGTYPE Operation …",
            ErrorKind::Decode,
        ),
        (
            "ERR Error running script (call to f_62): @user_script:1: -OOM command …",
            ErrorKind::StorageFull,
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            ErrorKind::StorageFull,
        ),
        (
            "READONLY You can't write against a read only replica.",
            ErrorKind::Unavailable,
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            ErrorKind::Unavailable,
        ),
        (
            "MASTERDOWN Link with MASTER is down",
            ErrorKind::Unavailable,
        ),
        ("CLUSTERDOWN Hash slot not served", ErrorKind::Unavailable),
        (
            "NOREPLICAS Not enough good replicas to write.",
            ErrorKind::Unavailable,
        ),
        (
            "MISCONF Redis is configured to save RDB snapshots",
            ErrorKind::Unavailable,
        ),
        ("MOVED 866 127.0.0.1:7001", ErrorKind::InvalidConfig),
        ("BUSY Redis is busy running a script.", ErrorKind::Busy),
        ("ERR max number of clients reached", ErrorKind::Busy),
        (
            "NOAUTH Authentication required.",
            ErrorKind::Unauthenticated,
        ),
        (
            "WRONGPASS invalid username-password pair",
            ErrorKind::Unauthenticated,
        ),
        ("ERR invalid password", ErrorKind::Unauthenticated),
        (
            "NOPERM this user has no permissions to run the 'get' command",
            ErrorKind::PermissionDenied,
        ),
        (
            "ERR The user executing the script can't run this command",
            ErrorKind::PermissionDenied,
        ),
        (
            "DENIED Redis is running in protected mode",
            ErrorKind::PermissionDenied,
        ),
        (
            "ERR Protocol error: invalid bulk length",
            ErrorKind::ValueTooLarge,
        ),
        (
            "ERR This instance has cluster support disabled",
            ErrorKind::InvalidConfig,
        ),
        (
            "ERR No such master with that name",
            ErrorKind::InvalidConfig,
        ),
        (
            "TRYAGAIN Multiple keys request during rehashing of slot",
            ErrorKind::Unavailable,
        ),
        ("ERR max request size exceeded", ErrorKind::ValueTooLarge),
        (
            "ERR max single record size exceeded",
            ErrorKind::ValueTooLarge,
        ),
        ("ERR DB capacity quota exceeded", ErrorKind::StorageFull),
        ("ERR max daily request limit exceeded", ErrorKind::Busy),
        ("ERR max requests limit exceeded.", ErrorKind::Busy),
        ("ERR max concurrent connections exceeded", ErrorKind::Busy),
        ("ERR DB index is out of range", ErrorKind::InvalidConfig),
        ("ERR whatever", ErrorKind::Other),
    ] {
        let error = refused(text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(!error.outcome_unknown(), "{text}: it was not carried out");
        assert_eq!(error.source().unwrap().to_string(), text);
    }
}

#[test]
fn the_servers_echo_of_a_command_is_cut_off() {
    let error =
        refused("ERR unknown command 'GETDEL', with args beginning with: 'the key' 'the value' ");
    assert_eq!(
        error.source().unwrap().to_string(),
        "ERR unknown command 'GETDEL'"
    );
    assert!(!format!("{error:?}").contains("the key"));
}

#[test]
fn lost_answers_leave_a_writes_outcome_unknown() {
    let closed = || RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe));
    let strange = || {
        let parsing = redis::parse_redis_value(b"?secret\r\n");
        parsing.expect_err("that is no answer")
    };
    for (error, kind) in [
        (closed(), ErrorKind::Unavailable),
        (strange(), ErrorKind::Other),
    ] {
        for writes in [true, false] {
            let error = Error::from(Failure::cut(error.clone(), writes));
            assert_eq!((error.kind(), error.outcome_unknown()), (kind, writes));
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(!format!("{error:?} {source}").contains("secret"));
        }
    }
    let late = Error::from(Failure::timed_out(Duration::from_secs(5), true));
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert!(late.outcome_unknown() && late.to_string().contains("5s"));
}

#[test]
fn where_a_cluster_says_that_a_slot_is() {
    let refusal = Refusal::new("MOVED 866 127.0.0.1:7001");
    assert_eq!(refusal.redirection(), Some((866, "127.0.0.1:7001")));
    assert_eq!(
        Refusal::new("ASK 1 :7001").redirection(),
        Some((1, ":7001"))
    );
    for strange in ["MOVED", "MOVED 866", "MOVED x h:1"] {
        assert_eq!(Refusal::new(strange).redirection(), None, "{strange}");
    }
}
