//! Bugs in batches and listings, and the cases that each must fail.

use super::reference::bug::Bug;

#[rustfmt::skip]
pub(crate) const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::BatchSorted, &[
        "b1_get_many_answers_in_the_order_asked", "b1_large_batches_are_done_in_full",
        "b3_items_carry_their_own_condition", "k5_namespaces_never_meet",
        "o3_what_was_written_is_retained", "t2_an_expired_key_is_missing_to_reads",
        "v1_any_bytes_come_back", "v1_any_json_object_comes_back", "v1_any_model_comes_back",
        "v1_any_text_comes_back", "v1_numbers_are_exact", "v4_what_is_not_of_the_type_is_an_error",
    ]),
    (Bug::BatchLacksMissing, &[
        "b1_delete_many_ignores_missing_keys", "b1_get_many_answers_in_the_order_asked",
        "b1_large_batches_are_done_in_full", "b3_items_carry_their_own_condition",
        "e6_calls_under_way_end", "k1_generated_keys_are_keys",
        "k1_keys_of_any_length_up_to_the_limit", "k2_near_keys_never_meet",
        "o1_a_missing_key_is_none", "o3_a_write_is_read_by_every_client",
        "t2_an_expired_key_is_missing_to_reads", "v4_what_is_not_of_the_type_is_an_error",
    ]),
    (Bug::BatchLacksDuplicates, &[
        "b1_get_many_answers_in_the_order_asked", "e1_errors_name_what_failed_and_print_no_secret",
        "t2_an_expired_key_is_missing_to_reads",
    ]),
    (Bug::BatchCutAt1000, &[
        "b1_large_batches_are_done_in_full", "l1_a_listing_names_all_keys",
        "l1_keys_there_throughout_are_named_while_others_change",
    ]),
    (Bug::BatchFailsAsAWhole, &["v4_what_is_not_of_the_type_is_an_error"]),
    (Bug::BatchErrorsAreMisses, &[
        "e1_errors_name_what_failed_and_print_no_secret",
        "e6_close_ends_all_stores_of_the_provider", "v4_what_is_not_of_the_type_is_an_error",
    ]),
    (Bug::BatchIgnoresConditions, &["b3_items_carry_their_own_condition"]),
    (Bug::BatchDeletesOneMissingFails, &[
        "b1_delete_many_ignores_missing_keys", "k1_generated_keys_are_keys",
        "k1_keys_of_any_length_up_to_the_limit", "k2_near_keys_never_meet",
    ]),
    (Bug::EmptyBatchFails, &["b1_the_empty_batch_is_empty"]),
    (Bug::ListsOnePage, &[
        "k2_listings_name_keys_exactly", "l1_a_listing_may_be_dropped",
        "l1_a_listing_names_all_keys", "l1_a_prefix_is_taken_literally",
        "l1_keys_there_throughout_are_named_while_others_change",
    ]),
    (Bug::ListsByOffset, &["l1_keys_there_throughout_are_named_while_others_change"]),
    (Bug::ListsTwice, &["l1_a_listing_names_all_keys"]),
    (Bug::ListsAll, &[
        "k5_a_listing_stays_in_its_namespace", "l1_a_listing_names_all_keys",
        "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::PrefixIsGlob, &["k5_a_listing_stays_in_its_namespace", "l1_a_prefix_is_taken_literally"]),
    (Bug::PrefixIgnoresCase, &[
        "k5_a_listing_stays_in_its_namespace", "l1_a_prefix_is_taken_literally",
    ]),
    (Bug::PrefixIsFolder, &["l1_a_prefix_is_taken_literally"]),
];
