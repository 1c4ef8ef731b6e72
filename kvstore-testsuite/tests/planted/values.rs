//! Bugs in values and operations, and the cases that each must fail.

use super::reference::bug::Bug;

#[rustfmt::skip]
pub(crate) const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::NumbersRounded, &[
        "v1_any_json_object_comes_back", "v1_any_model_comes_back", "v1_numbers_are_exact",
        "v1_what_is_not_exact_is_invalid", "v2_no_value_is_not_a_value",
        "v4_what_is_not_of_the_type_is_an_error",
    ]),
    (Bug::EmptyIsMissing, &[
        "b1_get_many_answers_in_the_order_asked", "c1_set_if_absent", "c5_take_gets_and_deletes",
        "o4_set_replaces_the_value", "o5_has_agrees_with_get", "v1_any_bytes_come_back",
        "v1_any_text_comes_back",
    ]),
    (Bug::NulDropped, &[
        "o3_what_was_written_is_retained", "o5_has_agrees_with_get", "v1_any_bytes_come_back",
        "v1_any_text_comes_back",
    ]),
    (Bug::BytesMadeText, &["o3_what_was_written_is_retained", "v1_any_bytes_come_back"]),
    (Bug::DollarMembersDropped, &["v1_any_json_object_comes_back", "v1_any_model_comes_back"]),
    (Bug::CutAtTheLimit, &["v3_a_value_over_the_limit_is_refused"]),
    (Bug::OtherTypeIsMissing, &[
        "e1_errors_name_what_failed_and_print_no_secret",
        "v4_a_take_of_another_type_has_removed_it", "v4_what_is_not_of_the_type_is_an_error",
    ]),
    (Bug::TakeKeepsOtherType, &["v4_a_take_of_another_type_has_removed_it"]),
    (Bug::ErrorsAreMisses, &[
        "e1_errors_name_what_failed_and_print_no_secret",
        "e6_close_ends_all_stores_of_the_provider", "v4_what_is_not_of_the_type_is_an_error",
    ]),
    (Bug::DeleteOfMissingFails, &[
        "b1_delete_many_ignores_missing_keys", "k1_generated_keys_are_keys",
        "k1_keys_of_any_length_up_to_the_limit", "k2_near_keys_never_meet",
        "o2_deleting_a_missing_key_succeeds",
    ]),
    (Bug::SetKeepsOldValue, &[
        "b3_items_carry_their_own_condition", "b3_items_carry_their_own_expiry",
        "c1_delete_if_version", "c1_set_if_absent", "c1_set_if_present", "c1_set_if_version",
        "c2_a_hundred_increments", "c2_one_of_many_writes_at_a_version",
        "c3_a_stale_version_never_applies", "c4_a_version_travels_as_text",
        "k5_a_namespace_is_a_view", "o3_a_write_is_read_by_every_client",
        "o4_set_replaces_the_value", "t1_value_and_expiry_are_written_together",
        "v1_what_is_not_exact_is_invalid", "v2_no_value_is_not_a_value",
        "v3_a_value_over_the_limit_is_refused",
    ]),
    (Bug::ReadsFromCache, &[
        "c4_a_version_travels_as_text", "o3_a_write_is_read_by_every_client",
        "o4_set_keeps_the_expiry_when_told", "o5_has_agrees_with_get_as_a_key_expires",
        "t3_a_key_lives_as_long_as_told", "t4_touch_sets_the_expiry",
    ]),
    (Bug::EvictsOldest, &[
        "b1_large_batches_are_done_in_full", "k2_listings_name_keys_exactly",
        "k2_near_keys_never_meet", "l1_a_listing_may_be_dropped", "l1_a_listing_names_all_keys",
        "l1_keys_there_throughout_are_named_while_others_change", "o3_what_was_written_is_retained",
    ]),
    (Bug::DroppedCallBlocks, &[
        "o6_a_dropped_future_leaves_the_key_as_before_or_after",
        "o6_a_dropped_future_leaves_the_store_usable",
    ]),
    (Bug::DroppedSetDeletes, &["o6_a_dropped_future_leaves_the_key_as_before_or_after"]),
    (Bug::HangsWhenMissing, &[
        "b3_items_carry_their_own_condition", "o1_a_missing_key_is_none",
        "o6_a_dropped_future_leaves_the_store_usable", "v4_what_is_not_of_the_type_is_an_error",
    ]),
];
