//! Bugs in conditions, and the cases that each must fail.

use super::reference::bug::Bug;

#[rustfmt::skip]
pub(crate) const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::AbsentOverwrites, &[
        "b3_items_carry_their_own_condition", "c1_set_if_absent", "c2_one_of_many_creates",
        "c5_take_while_the_key_is_set_again", "t4_the_time_left_can_be_read",
    ]),
    (Bug::PresentCreates, &[
        "b3_items_carry_their_own_condition", "c1_set_if_present", "c3_a_deleted_key_is_absent",
        "t2_an_expired_key_is_missing_to_conditions",
    ]),
    (Bug::VersionIgnored, &[
        "b3_items_carry_their_own_condition", "c1_set_if_version", "c2_a_hundred_increments",
        "c2_one_of_many_writes_at_a_version", "c3_a_stale_version_never_applies",
        "c3_a_version_never_creates",
    ]),
    (Bug::VersionCreates, &[
        "c3_a_version_never_creates", "t2_an_expired_key_is_missing_to_conditions",
    ]),
    (Bug::DeleteIgnoresVersion, &[
        "b3_items_carry_their_own_condition", "c1_delete_if_version",
        "c3_a_stale_version_never_applies", "c3_a_version_never_creates",
    ]),
    (Bug::ForeignVersionFails, &["c3_a_version_never_creates"]),
    (Bug::SaysAppliedWhenUnmet, &[
        "b3_items_carry_their_own_condition", "c1_set_if_absent", "c1_set_if_present",
        "c1_set_if_version", "c2_a_hundred_increments", "c2_one_of_many_creates",
        "c2_one_of_many_writes_at_a_version", "c3_a_deleted_key_is_absent",
        "c3_a_stale_version_never_applies", "c3_a_version_never_creates",
        "c5_take_while_the_key_is_set_again", "t2_an_expired_key_is_missing_to_conditions",
        "t4_the_time_left_can_be_read",
    ]),
    (Bug::VersionsByContent, &["c4_versions_are_of_their_class"]),
    (Bug::VersionsRestart, &["c4_versions_are_of_their_class"]),
    (Bug::VersionsOfTheClient, &["c4_a_version_travels_as_text"]),
    (Bug::VersionNotGiven, &[
        "b3_items_carry_their_own_condition", "c1_an_entry_has_value_version_and_expiry",
        "c1_delete_if_version", "c1_set_if_version", "c2_a_hundred_increments",
        "c2_one_of_many_deletes_a_version", "c2_one_of_many_writes_at_a_version",
        "c3_a_stale_version_never_applies", "c3_a_version_never_creates",
        "c4_a_version_travels_as_text", "c4_versions_are_of_their_class",
    ]),
    (Bug::ToldVersionIsWrong, &["c1_set_if_version"]),
    (Bug::AbsentRaces, &["c2_one_of_many_creates"]),
    (Bug::VersionRaces, &["c2_a_hundred_increments", "c2_one_of_many_writes_at_a_version"]),
    (Bug::DeleteRaces, &["c2_one_of_many_deletes_a_version"]),
    (Bug::TakeRaces, &[
        "c5_one_of_many_takes", "c5_take_while_the_key_is_deleted_and_set_again",
        "c5_take_while_the_key_is_set_again",
    ]),
    (Bug::TakeKeeps, &[
        "c5_one_of_many_takes", "c5_take_gets_and_deletes",
        "c5_take_while_the_key_is_deleted_and_set_again", "c5_take_while_the_key_is_set_again",
        "v4_a_take_of_another_type_has_removed_it",
    ]),
];
