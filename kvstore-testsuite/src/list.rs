//! The list of all cases.

/// Hands the list of all cases to another macro: `module { name [rules] sentence; … } …`.
#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ([$($then:tt)+] [$($with:tt)*]) => {
        $($then)+! { [$($with)*]
            keys {
                k1_any_text_is_a_key [K1]
                    "every non-empty UTF-8 string of up to 255 bytes is a valid key";
                k1_generated_keys_are_keys [K1 K2 B1]
                    "every non-empty UTF-8 string of up to 255 bytes is a valid key";
                k1_keys_of_any_length_up_to_the_limit [K1 K4]
                    "keys of 255 bytes are valid, and so are those up to the provider's stated limit";
                k1_a_key_and_keys_below_it [K1]
                    "a key is valid together with that key followed by `/…`";
                k2_near_keys_never_meet [K2]
                    "two different keys never meet: nothing is trimmed, folded, normalised or collapsed";
                k2_listings_name_keys_exactly [K2 L1]
                    "keys are decoded exactly when they are listed";
                k4_the_empty_key_is_invalid [K4 B3]
                    "the empty key is InvalidKey";
                k4_a_key_over_the_limit_is_invalid [K4 B3]
                    "a key over the provider's stated limit, namespaces included, is InvalidKey";
            }
            operations {
                o1_a_missing_key_is_none [O1]
                    "get of a missing key is None, and get_or gives the default";
                o2_deleting_a_missing_key_succeeds [O2]
                    "delete of a missing key does nothing and succeeds; deleting twice is the same as once";
                o3_a_write_is_read_by_every_client [O3]
                    "after set returns, get and has, from any client, see it";
                o3_what_was_written_is_retained [O3]
                    "a key is not evicted, where the provider claims so";
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
