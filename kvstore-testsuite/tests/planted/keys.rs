//! Bugs in keys, and the cases that each must fail.

use super::reference::bug::Bug;

#[rustfmt::skip]
pub(crate) const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::KeysTrimmed, &[
        "k1_generated_keys_are_keys", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::KeysLowerCased, &[
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "k5_namespaces_never_meet",
        "l1_a_prefix_is_taken_literally", "o1_a_missing_key_is_none",
    ]),
    (Bug::KeysNormalised, &[
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::KeysCutAtNul, &[
        "k1_generated_keys_are_keys", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "k5_namespaces_never_meet",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::KeysCutAt250Bytes, &[
        "k1_keys_of_any_length_up_to_the_limit", "k2_listings_name_keys_exactly",
        "k2_near_keys_never_meet",
    ]),
    (Bug::KeysMadeAscii, &[
        "k1_generated_keys_are_keys", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "k5_namespaces_never_meet",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::SlashesCollapsed, &[
        "k1_a_key_and_keys_below_it", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::TrailingSlashDropped, &[
        "k1_a_key_and_keys_below_it", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::DotDotResolved, &[
        "k1_a_key_and_keys_below_it", "k1_generated_keys_are_keys", "k2_listings_name_keys_exactly",
        "k2_near_keys_never_meet", "k5_a_listing_stays_in_its_namespace",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::PercentDecoded, &[
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::ColonsCollapsed, &[
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::DeletesBelow, &[
        "k1_a_key_and_keys_below_it", "k1_generated_keys_are_keys",
        "k1_keys_of_any_length_up_to_the_limit", "k2_near_keys_never_meet",
        "k5_namespaces_never_meet",
    ]),
    (Bug::ShortKeysOnly, &[
        "k1_any_text_is_a_key", "k1_generated_keys_are_keys",
        "k1_keys_of_any_length_up_to_the_limit", "k2_listings_name_keys_exactly",
        "k2_near_keys_never_meet", "k4_a_key_over_the_limit_is_invalid",
    ]),
    (Bug::ControlCharactersRefused, &[
        "b1_a_batch_of_one_is_the_single_call", "k1_any_text_is_a_key",
        "k1_generated_keys_are_keys", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "k5_a_namespace_is_a_view",
        "k5_namespaces_never_meet", "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::PanicsAtNul, &[
        "b1_a_batch_of_one_is_the_single_call", "e5_no_input_makes_a_panic", "k1_any_text_is_a_key",
        "k1_generated_keys_are_keys", "k1_keys_of_any_length_up_to_the_limit",
        "k2_listings_name_keys_exactly", "k2_near_keys_never_meet",
        "k5_a_listing_stays_in_its_namespace", "k5_a_namespace_is_a_view",
        "k5_namespaces_never_meet", "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::ListsStoredNames, &[
        "k2_listings_name_keys_exactly", "k5_a_listing_stays_in_its_namespace",
        "l1_a_listing_names_all_keys", "l1_a_prefix_is_taken_literally",
        "l1_keys_there_throughout_are_named_while_others_change",
        "t2_an_expired_key_is_missing_in_listings",
    ]),
];
