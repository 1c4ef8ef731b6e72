//! The README's table of rules says what the cases say.

use kvstore_testsuite::cases;

/// The contract's rules, and why some have no case.
const RULES: &[(&str, &str)] = &[
    ("K1", ""),
    ("K2", ""),
    (
        "K3",
        "what stands on the server: a provider's own tests, with the server's own client",
    ),
    ("K4", ""),
    ("K5", ""),
    ("V1", ""),
    ("V2", ""),
    ("V3", "the server's own limit: a provider's own tests"),
    (
        "V4",
        "what another program left under the key: a provider's own tests",
    ),
    (
        "O1",
        "a server that is down or refuses: a provider's own tests, with `servers` and `proxy`",
    ),
    ("O2", ""),
    ("O3", ""),
    ("O4", ""),
    ("O5", ""),
    ("O6", ""),
    ("T1", ""),
    ("T2", ""),
    ("T3", ""),
    ("T4", ""),
    (
        "C1",
        "in one round trip: a provider's own tests, with `proxy`",
    ),
    ("C2", ""),
    ("C3", ""),
    ("C4", ""),
    ("C5", ""),
    ("B1", ""),
    ("B2", "a provider's own tests, with `proxy`"),
    ("B3", ""),
    ("L1", "its memory: a provider's own tests"),
    (
        "E1",
        "`outcome_unknown`: a provider's own tests, with `proxy`",
    ),
    (
        "E2",
        "no case may take two minutes; deadlines: a provider's own tests, with `servers` and `proxy`",
    ),
    ("E3", "a provider's own tests, with `servers`"),
    ("E4", "a provider's own tests, with `servers`"),
    ("E5", "bad configuration: a provider's own tests"),
    ("E6", "its warnings: a provider's own tests"),
];

#[test]
fn the_table_of_rules_is_that_of_the_cases() {
    let mut table = String::from("| rule | cases | besides |\n|---|---|---|\n");
    for (rule, besides) in RULES {
        let named = cases().iter().filter(|case| case.rules.contains(rule));
        let named: Vec<String> = named.map(|case| format!("`{}`", case.name)).collect();
        let both = (named.is_empty(), besides.is_empty());
        assert_ne!(
            both,
            (true, true),
            "nothing tests {rule}, and nothing says what does"
        );
        table += &format!("| {rule} | {} | {besides} |\n", named.join(", "));
    }
    let readme = include_str!("../README.md");
    assert!(
        readme.contains(&table),
        "the README's table is not this one:\n{table}"
    );
}

#[test]
fn cases_are_named_after_their_first_rule_and_state_it() {
    let known = |rule: &&str| RULES.iter().any(|(known, _)| known == rule);
    for case in cases() {
        let (first, _) = case.name.split_once('_').unwrap();
        assert_eq!(first.to_uppercase(), case.rules[0], "{}", case.name);
        assert!(
            case.rules.iter().all(known),
            "{}: {:?}",
            case.name,
            case.rules
        );
        assert!(case.sentence.len() > 10, "{}", case.name);
    }
    let names: std::collections::BTreeSet<_> = cases().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().len(), "two cases have one name");
}
