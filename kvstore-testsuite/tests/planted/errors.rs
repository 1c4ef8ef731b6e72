//! Bugs in capabilities, errors and closing, and the cases that each must fail.

use super::reference::bug::Bug;

#[rustfmt::skip]
pub(crate) const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::ClaimsTakeInVain, &[
        "c5_one_of_many_takes", "c5_take_gets_and_deletes",
        "c5_take_while_the_key_is_deleted_and_set_again", "c5_take_while_the_key_is_set_again",
        "e6_close_ends_all_stores_of_the_provider", "t2_an_expired_key_is_missing_to_take",
        "v1_a_hundred_levels_work_and_more_are_invalid", "v1_any_bytes_come_back",
        "v1_any_json_object_comes_back", "v1_any_model_comes_back", "v1_any_text_comes_back",
        "v1_numbers_are_exact", "v4_a_take_of_another_type_has_removed_it",
    ]),
    (Bug::ClaimsTouchInVain, &[
        "e6_close_ends_all_stores_of_the_provider", "t2_an_expired_key_is_missing_to_touch",
        "t4_persist_removes_the_expiry", "t4_touch_creates_no_key", "t4_touch_extends_the_life",
        "t4_touch_sets_the_expiry",
    ]),
    (Bug::ClaimsListingInVain, &[
        "k2_listings_name_keys_exactly", "k5_a_listing_stays_in_its_namespace",
        "l1_a_listing_may_be_dropped", "l1_a_listing_names_all_keys",
        "l1_a_prefix_is_taken_literally", "l1_keys_there_throughout_are_named_while_others_change",
        "t2_an_expired_key_is_missing_in_listings",
    ]),
    (Bug::ErrorShowsKey, &["e1_errors_name_what_failed_and_print_no_secret"]),
    (Bug::ErrorShowsValueInSource, &["e1_errors_name_what_failed_and_print_no_secret"]),
    (Bug::CloseIgnored, &["e6_close_ends_all_stores_of_the_provider"]),
    (Bug::SecondCloseFails, &["e6_after_close_calls_are_closed"]),
    (Bug::CloseEndsReadsAsMisses, &["e6_close_ends_all_stores_of_the_provider"]),
    (Bug::CallsUnderWayHangAtClose, &[
        "e6_calls_under_way_end", "e6_close_ends_all_stores_of_the_provider",
    ]),
    (Bug::PingNamesNothing, &["e6_ping_names_the_server"]),
];
