//! Bugs in expiry, and the cases that each must fail.

use super::reference::bug::Bug;

#[rustfmt::skip]
pub(crate) const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::TtlDropped, &[
        "b3_items_carry_their_own_expiry", "c1_an_entry_has_value_version_and_expiry",
        "o4_set_keeps_the_expiry_when_told", "o5_has_agrees_with_get_as_a_key_expires",
        "o6_a_dropped_future_leaves_the_key_as_before_or_after",
        "t1_value_and_expiry_are_written_together", "t2_an_expired_key_is_missing_in_listings",
        "t2_an_expired_key_is_missing_to_conditions", "t2_an_expired_key_is_missing_to_reads",
        "t2_an_expired_key_is_missing_to_take", "t2_an_expired_key_is_missing_to_touch",
        "t3_a_key_lives_as_long_as_told", "t3_thirty_one_days_and_ten_years_work",
        "t4_the_time_left_can_be_read", "t4_touch_sets_the_expiry",
    ]),
    (Bug::TtlInSeconds, &[
        "o4_set_keeps_the_expiry_when_told", "o5_has_agrees_with_get_as_a_key_expires",
        "t2_an_expired_key_is_missing_in_listings", "t2_an_expired_key_is_missing_to_reads",
        "t2_an_expired_key_is_missing_to_take", "t2_an_expired_key_is_missing_to_touch",
        "t3_a_key_lives_as_long_as_told", "t4_touch_sets_the_expiry",
    ]),
    (Bug::TtlRoundedUpToSeconds, &[
        "b3_items_carry_their_own_expiry", "c1_an_entry_has_value_version_and_expiry",
        "o4_set_keeps_the_expiry_when_told", "o5_has_agrees_with_get_as_a_key_expires",
        "t2_an_expired_key_is_missing_in_listings", "t2_an_expired_key_is_missing_to_conditions",
        "t2_an_expired_key_is_missing_to_keeping", "t2_an_expired_key_is_missing_to_reads",
        "t2_an_expired_key_is_missing_to_take", "t2_an_expired_key_is_missing_to_touch",
        "t3_a_key_lives_as_long_as_told", "t3_thirty_one_days_and_ten_years_work",
        "t4_the_time_left_can_be_read", "t4_touch_sets_the_expiry",
    ]),
    (Bug::TtlOver30DaysIsADate, &["t3_thirty_one_days_and_ten_years_work"]),
    (Bug::TtlDroppedInBatches, &[
        "b3_items_carry_their_own_expiry", "o4_set_keeps_the_expiry_when_told",
        "t2_an_expired_key_is_missing_in_listings", "t2_an_expired_key_is_missing_to_conditions",
        "t2_an_expired_key_is_missing_to_reads", "t2_an_expired_key_is_missing_to_take",
        "t2_an_expired_key_is_missing_to_touch", "t4_the_time_left_can_be_read",
    ]),
    (Bug::TtlSetInASecondStep, &[
        "o6_a_dropped_future_leaves_the_key_as_before_or_after",
        "t1_value_and_expiry_are_written_together",
    ]),
    (Bug::OverwriteKeepsTtl, &[
        "o4_set_removes_the_expiry", "t1_value_and_expiry_are_written_together",
    ]),
    (Bug::KeepDropsTtl, &["b3_items_carry_their_own_expiry", "o4_set_keeps_the_expiry_when_told"]),
    (Bug::KeepKeepsPastDeadline, &["t2_an_expired_key_is_missing_to_keeping"]),
    (Bug::TimeLeftUnknown, &[
        "b3_items_carry_their_own_expiry", "c1_an_entry_has_value_version_and_expiry",
        "o4_set_keeps_the_expiry_when_told",
        "o6_a_dropped_future_leaves_the_key_as_before_or_after",
        "t1_value_and_expiry_are_written_together", "t3_thirty_one_days_and_ten_years_work",
        "t4_the_time_left_can_be_read", "t4_touch_sets_the_expiry",
    ]),
    (Bug::UnmetWriteSetsTtl, &["t4_the_time_left_can_be_read"]),
    (Bug::TouchIgnored, &["t4_touch_extends_the_life", "t4_touch_sets_the_expiry"]),
    (Bug::TouchCreates, &["t2_an_expired_key_is_missing_to_touch", "t4_touch_creates_no_key"]),
    (Bug::PersistIgnored, &["t4_persist_removes_the_expiry"]),
    (Bug::HasExpired, &[
        "o5_has_agrees_with_get_as_a_key_expires", "t2_an_expired_key_is_missing_to_conditions",
        "t2_an_expired_key_is_missing_to_reads",
    ]),
    (Bug::GetsExpiredInBatches, &["t2_an_expired_key_is_missing_to_reads"]),
    (Bug::EntryOfExpired, &[
        "o4_set_keeps_the_expiry_when_told", "o5_has_agrees_with_get_as_a_key_expires",
        "t2_an_expired_key_is_missing_to_conditions", "t2_an_expired_key_is_missing_to_reads",
        "t2_an_expired_key_is_missing_to_touch", "t3_a_key_lives_as_long_as_told",
        "t4_touch_sets_the_expiry",
    ]),
    (Bug::TakesExpired, &["t2_an_expired_key_is_missing_to_take"]),
    (Bug::ExpiredBlocksAbsent, &["t2_an_expired_key_is_missing_to_conditions"]),
    (Bug::ExpiredIsPresent, &["t2_an_expired_key_is_missing_to_conditions"]),
    (Bug::ExpiredHasVersion, &["t2_an_expired_key_is_missing_to_conditions"]),
    (Bug::TouchRevivesExpired, &["t2_an_expired_key_is_missing_to_touch"]),
    (Bug::ListsExpired, &["t2_an_expired_key_is_missing_in_listings"]),
];
