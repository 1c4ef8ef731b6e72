//! Bugs to plant in the reference provider.

/// One bug, as some provider, wrapper or driver had it, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    // Keys.
    KeysTrimmed,
    KeysLowerCased,
    KeysNormalised,
    KeysCutAtNul,
    KeysCutAt250Bytes,
    KeysMadeAscii,
    SlashesCollapsed,
    TrailingSlashDropped,
    DotDotResolved,
    PercentDecoded,
    /// `:` and `::` are one separator, so that namespaces meet.
    ColonsCollapsed,
    /// Deleting `a` deletes `a/b`.
    DeletesBelow,
    ShortKeysOnly,
    ControlCharactersRefused,
    PanicsAtNul,
    ListsStoredNames,

    // Values.
    NumbersRounded,
    EmptyIsMissing,
    NulDropped,
    BytesMadeText,
    DollarMembersDropped,
    CutAtTheLimit,
    OtherTypeIsMissing,
    TakeKeepsOtherType,

    // Operations.
    ErrorsAreMisses,
    DeleteOfMissingFails,
    SetKeepsOldValue,
    ReadsFromCache,
    EvictsOldest,
    DroppedCallBlocks,
    DroppedSetDeletes,
    HangsWhenMissing,

    // Expiry.
    TtlDropped,
    TtlInSeconds,
    TtlRoundedUpToSeconds,
    TtlOver30DaysIsADate,
    TtlDroppedInBatches,
    TtlSetInASecondStep,
    OverwriteKeepsTtl,
    KeepDropsTtl,
    KeepKeepsPastDeadline,
    TimeLeftUnknown,
    UnmetWriteSetsTtl,
    TouchIgnored,
    TouchCreates,
    PersistIgnored,
    HasExpired,
    GetsExpiredInBatches,
    EntryOfExpired,
    TakesExpired,
    ExpiredBlocksAbsent,
    ExpiredIsPresent,
    ExpiredHasVersion,
    TouchRevivesExpired,
    ListsExpired,

    // Conditions.
    AbsentOverwrites,
    PresentCreates,
    VersionIgnored,
    VersionCreates,
    DeleteIgnoresVersion,
    ForeignVersionFails,
    SaysAppliedWhenUnmet,
    VersionsByContent,
    VersionsRestart,
    VersionsOfTheClient,
    VersionNotGiven,
    ToldVersionIsWrong,
    AbsentRaces,
    VersionRaces,
    DeleteRaces,
    TakeRaces,
    TakeKeeps,

    // Batches.
    BatchSorted,
    BatchLacksMissing,
    BatchLacksDuplicates,
    BatchCutAt1000,
    BatchFailsAsAWhole,
    BatchErrorsAreMisses,
    BatchIgnoresConditions,
    BatchDeletesOneMissingFails,
    EmptyBatchFails,

    // Listing.
    ListsOnePage,
    ListsByOffset,
    ListsTwice,
    ListsAll,
    PrefixIsGlob,
    PrefixIgnoresCase,
    PrefixIsFolder,

    // Capabilities, errors, closing.
    ClaimsTakeInVain,
    ClaimsTouchInVain,
    ClaimsListingInVain,
    ErrorShowsKey,
    ErrorShowsValueInSource,
    CloseIgnored,
    SecondCloseFails,
    CloseEndsReadsAsMisses,
    CallsUnderWayHangAtClose,
    PingNamesNothing,
}

impl Bug {
    /// The name under which a key is kept.
    pub(crate) fn stored(self, key: &str) -> String {
        match self {
            Self::KeysTrimmed => key.trim().to_owned(),
            Self::KeysLowerCased => key.to_lowercase(),
            Self::KeysNormalised => key.replace("e\u{301}", "é").replace('\u{212b}', "Å"),
            Self::KeysCutAtNul => key.split('\0').next().unwrap_or_default().to_owned(),
            Self::KeysCutAt250Bytes => key[..key.floor_char_boundary(250)].to_owned(),
            Self::KeysMadeAscii => key.replace(|char: char| !char.is_ascii(), "?"),
            Self::SlashesCollapsed => collapsed(key, "/"),
            Self::ColonsCollapsed => collapsed(key, ":"),
            Self::TrailingSlashDropped => key.strip_suffix('/').unwrap_or(key).to_owned(),
            Self::DotDotResolved => resolved(key),
            Self::PercentDecoded => key.replace("%2F", "/").replace("%25", "%"),
            _ => key.to_owned(),
        }
    }

    /// Whether a key begins with a prefix.
    pub(crate) fn begins(self, key: &str, prefix: &str) -> bool {
        match self {
            Self::ListsAll => true,
            Self::PrefixIgnoresCase => key.to_lowercase().starts_with(&prefix.to_lowercase()),
            // As where the server lists by folders, in which `.` has an escape of its own.
            Self::PrefixIsFolder => match prefix.ends_with("/.") {
                true => key == prefix,
                false => key.starts_with(prefix),
            },
            Self::PrefixIsGlob => match prefix.split_once('*') {
                Some((begin, end)) => key
                    .strip_prefix(begin)
                    .is_some_and(|rest| rest.contains(end)),
                None => key.starts_with(prefix),
            },
            _ => key.starts_with(prefix),
        }
    }
}

fn collapsed(key: &str, separator: &str) -> String {
    let mut key = key.to_owned();
    while key.contains(&separator.repeat(2)) {
        key = key.replace(&separator.repeat(2), separator);
    }
    key
}

fn resolved(key: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in key.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
