//! Every check of the workspace, in the order of what fails soonest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use crate::report::{Report, run};
use crate::servers;
use crate::workspace::{Member, Workspace, cargo};

/// How many crates the core may bring into a program, itself included.
const CORE_CRATES: usize = 30;

/// Runs the checks; the error is the first that failed.
pub(crate) fn run_all() -> Result<(), String> {
    let workspace = Workspace::read()?;
    let used = workspace.target.join("kvstore-test-report");
    let test = |args: &[&str]| {
        let mut command = cargo();
        command.args(["test", "--no-fail-fast"]).args(args);
        // One server for all the test programs, until this process ends.
        command.env("KVSTORE_TEST_RUN", process::id().to_string());
        command.env("KVSTORE_TEST_REPORT", &used);
        command
    };
    let mut report = Report::default();

    let installed = report.step("Servers", servers::install)?;
    for line in &installed {
        println!("{line}");
    }
    fs::create_dir_all(&workspace.target)
        .and_then(|()| fs::write(&used, ""))
        .map_err(|e| format!("{}: {e}", used.display()))?;

    report.step("Format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    report.step("Lints", || {
        run(&mut clippy(&[
            "--workspace",
            "--all-targets",
            "--all-features",
        ]))
    })?;
    report.step("Documentation", || {
        let args = ["doc", "--no-deps", "--workspace", "--all-features"];
        run(cargo().args(args).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    report.step("Tests", || {
        run(&mut test(&["--workspace", "--all-features"]))
    })?;
    report.step("Benchmarks, each row once", || {
        run(&mut test(&["--package", "kvstore-bench", "--benches"]))
    })?;
    report.step("Tests of values with other features of serde_json", || {
        // A program that switches them on does so for every crate in it.
        let features =
            "serde_json/arbitrary_precision,serde_json/preserve_order,serde_json/raw_value,kvstore-redis/rest";
        let packages = [
            "kvstore-core",
            "kvstore-file",
            "kvstore-memcached",
            "kvstore-memory",
            "kvstore-mongodb",
            "kvstore-redis",
            "kvstore-s3",
            "kvstore-vault",
            "kvstore-zookeeper",
        ];
        let packages = packages.iter().flat_map(|name| ["--package", name]);
        let values = ["store", "conformance", "format"];
        let values = values.iter().flat_map(|name| ["--test", name]);
        run(test(&["--features", features, "--lib"])
            .args(packages)
            .args(values))
    })?;
    report.step("Each feature alone", || {
        for args in feature_sets(&workspace.members) {
            println!("{}", args.join(" "));
            run(&mut clippy(&args))?;
        }
        Ok(())
    })?;
    report.step("Dependencies of the core", core_crates)?;
    report.step("Packages", || {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
        forget_packages(
            &home.ok_or("there is no home directory")?,
            &workspace.members,
        )?;
        // Nor what was built of them.
        let target = workspace.target.join("packages");
        if target.exists() {
            fs::remove_dir_all(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        }
        run(cargo()
            .args(package(&workspace.members))
            .arg("--target-dir")
            .arg(target))
    })?;

    let used = fs::read_to_string(&used).map_err(|e| format!("{}: {e}", used.display()))?;
    println!("{}", report.summary(&installed, &used));
    Ok(())
}

fn clippy(args: &[&str]) -> Command {
    let mut command = cargo();
    command
        .arg("clippy")
        .args(args)
        .args(["--", "-D", "warnings"]);
    command
}

/// Removes the packages that cargo unpacked here before. It knows them by name and version alone, and would build the
/// new ones with those.
fn forget_packages(cargo_home: &Path, members: &[Member]) -> Result<(), String> {
    let Ok(registries) = fs::read_dir(cargo_home.join("registry/src")) else {
        return Ok(());
    };
    for registry in registries.flatten() {
        // The one that cargo makes of a workspace is a folder, and has no host's name before its hash.
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for package in fs::read_dir(registry.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = package.file_name();
            let name = name.to_string_lossy();
            let is_version = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
            let is_ours = members.iter().any(|member| {
                let rest = name.strip_prefix(&*member.name);
                rest.and_then(|rest| rest.strip_prefix('-'))
                    .is_some_and(is_version)
            });
            if is_ours {
                let path = package.path();
                fs::remove_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// For each crate that is published, what to check it with alone: no feature, and each of its own.
/// With the others in one build, it may use what they switched on.
fn feature_sets(members: &[Member]) -> Vec<Vec<&str>> {
    let mut sets = Vec::new();
    for member in members.iter().filter(|member| member.public) {
        let alone = ["--package", &member.name, "--no-default-features"];
        sets.push(alone.to_vec());
        let features = member.features.iter();
        sets.extend(features.map(|feature| [&alone[..], &["--features", feature]].concat()));
    }
    sets
}

fn core_crates() -> Result<(), String> {
    let args = [
        "tree",
        "--package",
        "kvstore-core",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ];
    let output = cargo()
        .args(args)
        .output()
        .map_err(|e| format!("cargo tree: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = crates(&text);
    println!("{count} crates, itself included");
    match count {
        0 => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        1..CORE_CRATES => Ok(()),
        _ => Err(format!(
            "{text}\nkvstore-core is to bring in fewer than {CORE_CRATES}"
        )),
    }
}

/// How many crates a tree without indentation names; `(*)` is after those it named before.
fn crates(tree: &str) -> usize {
    let name = |line: &str| line.trim_end_matches(" (*)").to_owned();
    let names = tree.lines().filter(|line| !line.is_empty()).map(name);
    names.collect::<std::collections::BTreeSet<_>>().len()
}

/// Packs each crate that is published, and builds it from what was packed: nothing is missing.
fn package(members: &[Member]) -> Vec<&str> {
    let mut args = vec!["package", "--workspace", "--allow-dirty", "--quiet"];
    for member in members.iter().filter(|member| !member.public) {
        args.extend(["--exclude", &member.name]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> [Member; 2] {
        let features = vec!["x".to_owned(), "y".to_owned()];
        let a = Member {
            name: "a".to_owned(),
            features: features.clone(),
            public: true,
        };
        [
            a,
            Member {
                name: "b".to_owned(),
                features,
                public: false,
            },
        ]
    }

    #[test]
    fn each_feature_is_checked_alone() {
        let members = members();
        let sets: Vec<_> = feature_sets(&members)
            .iter()
            .map(|args| args.join(" "))
            .collect();
        let expected = [
            "--package a --no-default-features",
            "--package a --no-default-features --features x",
            "--package a --no-default-features --features y",
        ];
        assert_eq!(sets, expected);
    }

    #[test]
    fn what_is_not_published_is_not_packed() {
        assert!(package(&members()).ends_with(&["--exclude", "b"]));
    }

    #[test]
    fn crates_are_counted_once() {
        assert_eq!(
            crates("a v1\nb v1\nc v1 (proc-macro)\nb v1 (*)\nc v1 (proc-macro) (*)\n"),
            3
        );
        assert_eq!(crates(""), 0);
    }

    #[test]
    fn packages_of_ours_are_forgotten_and_no_others() {
        let home = env::temp_dir().join(format!("kvstore-xtask-{}", process::id()));
        let package = |path: &str| home.join("registry/src").join(path);
        let [ours, longer] = ["-0c1d/a-0.1.0", "-0c1d/a-b-0.1.0"].map(package);
        let elsewhere = package("index.example-0c1d/a-0.1.0");
        for path in [&ours, &longer, &elsewhere] {
            fs::create_dir_all(path).unwrap();
        }
        let forgotten = forget_packages(&home, &members());
        let left = [&ours, &longer, &elsewhere].map(|path| path.is_dir());
        fs::remove_dir_all(&home).unwrap();
        forgotten.unwrap();
        assert_eq!(left, [false, true, true]);
        forget_packages(&home, &members()).unwrap();
    }
}
