//! The list of all cases.

/// Hands the list of all cases to another macro: `module { name [rules] sentence; … } …`.
#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ([$($then:tt)+] [$($with:tt)*]) => {
        $($then)+! { [$($with)*]
            keys {
                k1_any_text_is_a_key [K1 O1 O2]
                    "every non-empty UTF-8 string of up to 255 bytes is a valid key";
                k1_generated_keys_are_keys [K1 K2 B1]
                    "every non-empty UTF-8 string of up to 255 bytes is a valid key";
                k1_keys_of_any_length_up_to_the_limit [K1 K4]
                    "keys of 255 bytes are valid, and so are those up to the provider's stated limit";
                k1_a_key_and_keys_below_it [K1]
                    "a key is valid together with that key followed by `/…`";
                k2_near_keys_never_meet [K2]
                    "two different keys never meet: nothing is trimmed, lower-cased, normalised or collapsed";
                k2_listings_name_keys_exactly [K2 L1]
                    "keys are decoded exactly when they are listed";
                k4_the_empty_key_is_invalid [K4 B3]
                    "the empty key is InvalidKey";
                k4_a_key_over_the_limit_is_invalid [K4 B3]
                    "a key over the provider's stated limit, namespaces included, is InvalidKey";
            }
            namespaces {
                k5_a_namespace_is_a_view [K5]
                    "a namespace is a view: its keys are the parent's keys that begin with `name:`";
                k5_namespaces_never_meet [K5]
                    "sibling namespaces never meet, and no key reaches outside its own";
                k5_a_nested_namespace_is_a_namespace_of_a_namespace [K5]
                    "namespaces nest";
                k5_a_listing_stays_in_its_namespace [K5 L1]
                    "no prefix or listing reaches outside its own namespace";
                k5_a_name_is_not_empty_and_holds_no_colon [K5]
                    "a name holds no `:` and is not empty";
            }
            values {
                v1_any_bytes_come_back [V1]
                    "any bytes come back as they were set, also none";
                v1_any_text_comes_back [V1]
                    "any UTF-8 text comes back as it was set, also empty and with NUL";
                v1_any_json_object_comes_back [V1]
                    "any JSON object comes back as it was set, or is InvalidValue; it is never rounded";
            }
            models {
                v1_any_model_comes_back [V1]
                    "any serde model comes back as it was set: any JSON but null";
                v1_numbers_are_exact [V1]
                    "every i64, u64 and finite f64 comes back exactly, or is InvalidValue";
                v1_what_is_not_exact_is_invalid [V1]
                    "a non-finite float is InvalidValue; integers beyond u64 are exact or InvalidValue";
                v1_a_hundred_levels_work_and_more_are_invalid [V1]
                    "nesting over 100 is InvalidValue";
            }
            refusals {
                v2_no_value_is_not_a_value [V2 B3]
                    "JSON null, or a model that serialises to it, is InvalidValue, nothing is sent, and the old value stays";
                v3_a_value_over_the_limit_is_refused [V3 B3]
                    "a value over the provider's limit is ValueTooLarge before any I/O, and the old value stays";
                v4_what_is_not_of_the_type_is_an_error [V4 B3]
                    "a stored value that does not decode as the store's type is Decode; never None, never a panic";
                v4_a_take_of_another_type_has_removed_it [V4]
                    "take of a value that does not decode has removed it";
            }
            operations {
                o1_a_missing_key_is_none [O1]
                    "get of a missing key is None, and get_or gives the default";
                o2_deleting_a_missing_key_succeeds [O2]
                    "delete of a missing key does nothing and succeeds; deleting twice is the same as once";
                o3_a_write_is_read_by_every_client [O3]
                    "after set returns, get and has, from any client, see it";
                o3_what_was_written_is_retained [O3]
                    "no key is evicted, where the provider claims so";
                o4_set_replaces_the_value [O4]
                    "set replaces the value";
                o5_has_agrees_with_get [O5]
                    "has agrees with get, also for empty values";
                o5_has_agrees_with_get_as_a_key_expires [O5 T2]
                    "has agrees with get at the moment of expiry";
                o6_a_dropped_future_leaves_the_key_as_before_or_after [O6]
                    "a dropped future leaves the key either as before or as after";
                o6_a_dropped_future_leaves_the_store_usable [O6]
                    "a dropped future leaves the store usable";
            }
            overwriting {
                o4_set_removes_the_expiry [O4]
                    "set replaces the expiry, unless told to keep it";
                o4_set_keeps_the_expiry_when_told [O4]
                    "set keeps the expiry when told";
            }
            expiry {
                t1_value_and_expiry_are_written_together [T1]
                    "value and expiry are written in one atomic step";
                t3_zero_and_over_100_years_is_invalid [T3]
                    "a time to live of zero, or of more than 100 years, is InvalidTtl";
                t3_a_key_lives_as_long_as_told [T3 T2]
                    "what is finer than the server's granularity is rounded up, never to \"forever\" and never down";
                t3_thirty_one_days_and_ten_years_work [T3]
                    "thirty-one days work everywhere, and ten years";
                t4_the_time_left_can_be_read [T4 C1]
                    "the remaining time can be read";
                t4_touch_sets_the_expiry [T4 T2]
                    "the remaining time can be set anew on an existing key";
                t4_touch_extends_the_life [T4]
                    "a key lives on by what touch has set";
                t4_persist_removes_the_expiry [T4]
                    "the remaining time can be removed";
                t4_touch_creates_no_key [T4]
                    "touch and persist are of an existing key, and create none";
            }
            expired {
                t2_an_expired_key_is_missing_to_reads [T2]
                    "from its deadline on, a key is missing to get, has and batches";
                t2_an_expired_key_is_missing_to_take [T2]
                    "from its deadline on, a key is missing to take";
                t2_an_expired_key_is_missing_to_conditions [T2 C3]
                    "an expired key is absent, and `this version` never creates one";
                t2_an_expired_key_is_missing_to_touch [T2 T4]
                    "from its deadline on, a key is missing to touch and persist";
                t2_an_expired_key_is_missing_to_keeping [T2 O4]
                    "a write that keeps the expiry does not keep one that is over";
                t2_an_expired_key_is_missing_in_listings [T2 L1]
                    "from its deadline on, a key is missing in listings";
            }
            conditions {
                c1_an_entry_has_value_version_and_expiry [C1]
                    "get_entry gives value, version and expiry";
                c1_set_if_absent [C1]
                    "set can require that the key is absent";
                c1_set_if_present [C1]
                    "set can require that the key is present";
                c1_set_if_version [C1]
                    "set can require a version";
                c1_delete_if_version [C1]
                    "delete can require a version";
            }
            versions {
                c3_a_version_never_creates [C3]
                    "`this version` never creates a key";
                c3_a_deleted_key_is_absent [C3]
                    "a deleted key is absent";
                c3_a_stale_version_never_applies [C3]
                    "`this version` holds for no other";
                c4_versions_are_of_their_class [C4]
                    "a version is unique, a counter or the content, as the capabilities say";
                c4_a_version_travels_as_text [C4]
                    "a version reads back from its text, and holds for any client";
            }
            contention {
                c2_one_of_many_creates [C2]
                    "of N concurrent writers under the condition `absent` exactly one applies";
                c2_one_of_many_writes_at_a_version [C2]
                    "of N concurrent writers at a version exactly one applies";
                c2_one_of_many_deletes_a_version [C2]
                    "of N concurrent deletes of a version exactly one applies";
                c2_a_hundred_increments [C2]
                    "ten writers, ten increments each by compare-and-set, leave exactly 100";
                c5_take_gets_and_deletes [C5]
                    "take gets and deletes";
                c5_one_of_many_takes [C5]
                    "take hands a value to exactly one of N callers";
                c5_take_while_the_key_is_set_again [C5]
                    "take hands each value to exactly one caller, also when the key is set again between";
                c5_take_while_the_key_is_deleted_and_set_again [C5]
                    "take hands a value to one caller at most, also when the key is deleted and set again between";
            }
            batches {
                b1_get_many_answers_in_the_order_asked [B1]
                    "get_many answers in the order asked, None for missing, duplicates included";
                b1_the_empty_batch_is_empty [B1]
                    "the empty batch is empty and does no I/O";
                b1_of_duplicates_the_last_wins [B1]
                    "in set_many, of duplicates the last wins";
                b1_delete_many_ignores_missing_keys [B1 O2]
                    "delete_many ignores missing keys";
                b1_large_batches_are_done_in_full [B1]
                    "batches of any size are done in full, in order";
                b1_a_batch_of_one_is_the_single_call [B1]
                    "a batch of one does what the single call does";
                b3_items_carry_their_own_condition [B3 C1]
                    "each item of a batch has its own condition and result";
                b3_items_carry_their_own_expiry [B3 O4]
                    "each item of a batch has its own expiry";
            }
            listing {
                l1_a_listing_names_all_keys [L1]
                    "keys streams the live keys, each at least once, or once where the capabilities say so";
                l1_a_prefix_is_taken_literally [L1]
                    "prefix characters are taken literally";
                l1_keys_there_throughout_are_named_while_others_change [L1]
                    "a key that existed throughout is named, whatever else changes";
                l1_a_listing_may_be_dropped [L1 O6]
                    "a listing may be dropped midway, and there may be several";
            }
            errors {
                e1_errors_name_what_failed_and_print_no_secret [E1 V4]
                    "an error names operation and provider, and prints no value and no key";
                e1_debug_prints_no_secret [E1]
                    "no Debug prints a value or a key";
                e5_no_input_makes_a_panic [E5]
                    "no library code panics on any input";
            }
            closing {
                e6_ping_names_the_server [E6]
                    "ping asks the server, and says its product";
                e6_after_close_calls_are_closed [E6]
                    "close ends all clones: later calls are Closed";
                e6_close_ends_all_stores_of_the_provider [E6 O1]
                    "close ends all clones: later calls are Closed, not misses";
                e6_calls_under_way_end [E6]
                    "calls under way finish or fail when the store is closed";
            }
        }
    };
}

/// One `#[test]` a case.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$setup:expr] $($module:ident { $($name:ident [$($rules:tt)+] $sentence:literal;)* })*) => {
        $($(
            #[test]
            fn $name() {
                $crate::run_as_test(stringify!($name), $setup);
            }
        )*)*
    };
}

/// The table of all cases.
macro_rules! table {
    ([] $($module:ident { $($name:ident [$($rule:ident)+] $sentence:literal;)* })*) => {
        static CASES: &[Case] = &[$($(
            Case {
                name: stringify!($name),
                rules: &[$(stringify!($rule)),+],
                sentence: $sentence,
                run: |fixture| Box::pin($crate::cases::$module::$name(fixture)),
            },
        )*)*];
    };
}
