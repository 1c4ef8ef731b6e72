use super::*;
use std::error::Error as _;

fn refused(text: &'static str) -> Error {
    Failure::new(
        FredError::new(FredKind::Unknown, text),
        true,
        Duration::ZERO,
    )
    .into()
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
        ("ERR DB index is out of range", ErrorKind::InvalidConfig),
        ("ERR whatever", ErrorKind::Other),
    ] {
        let error = refused(text);
        assert_eq!(error.kind(), kind, "{text}");
        assert_eq!(
            error.outcome_unknown(),
            text.starts_with("CLUSTERDOWN"),
            "{text}"
        );
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
fn lost_answers_leave_a_writes_outcome_unknown_unless_it_was_never_sent() {
    let lost = |kind, text, writes| {
        Error::from(Failure::new(
            FredError::new(kind, text),
            writes,
            Duration::ZERO,
        ))
    };
    for (kind, text, expected, sent) in [
        (
            FredKind::Timeout,
            "Request timed out.",
            ErrorKind::Timeout,
            true,
        ),
        (
            FredKind::IO,
            "Connection closed.",
            ErrorKind::Unavailable,
            true,
        ),
        (FredKind::IO, "OS error", ErrorKind::Unavailable, true),
        (
            FredKind::Unknown,
            "Too many failed write attempts.",
            ErrorKind::Unavailable,
            true,
        ),
        (
            FredKind::Unknown,
            "channel closed",
            ErrorKind::Unavailable,
            true,
        ),
        (
            FredKind::Canceled,
            "Canceled.",
            ErrorKind::Unavailable,
            true,
        ),
        (
            FredKind::Protocol,
            "Could not parse.",
            ErrorKind::Other,
            true,
        ),
        (
            FredKind::Unknown,
            "Failed to route command.",
            ErrorKind::Unavailable,
            false,
        ),
        (FredKind::Unknown, NO_TASK, ErrorKind::Unavailable, false),
    ] {
        assert_eq!(lost(kind.clone(), text, true).kind(), expected, "{text}");
        assert_eq!(
            lost(kind.clone(), text, true).outcome_unknown(),
            sent,
            "{text}"
        );
        assert!(
            !lost(kind, text, false).outcome_unknown(),
            "a read has no outcome"
        );
    }
}
