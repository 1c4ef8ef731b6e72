//! The store where none is named.

mod common;

use common::{Folder, command, kvstore};

#[test]
fn where_no_store_is_named_it_is_a_file_in_the_data_folder() {
    let folder = Folder::new();
    let run = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(args);
        command.envs(environment.iter().copied());
        common::Ran::from(command.output().unwrap())
    };
    let data = folder.file("my data");
    let here = &[("XDG_DATA_HOME", &data[..])][..];
    run(&["set", "k", "v"], here).ends(0);
    assert_eq!(run(&["get", "k"], here).ends(0).text(), "v");
    assert_eq!(run(&["keys"], here).ends(0).text(), "k\n");
    let url = format!("file:{}/kvstore/store.redb", data.replace(' ', "%20"));
    assert_eq!(kvstore(["get", "k", "--store", &url]).ends(0).text(), "v");
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = std::fs::metadata(path).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&format!("{data}/kvstore")), 0o700);
    assert_eq!(mode(&format!("{data}/kvstore/store.redb")), 0o600);
    // A command that has it open, and waits.
    let mut import = command(["import"]);
    import.envs(here.iter().copied());
    let mut import = import.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let ran = loop {
        let ran = run(&["get", "k"], here);
        if ran.code != Some(0) {
            break ran.ends(3);
        }
        assert!(import.try_wait().unwrap().is_none(), "it waits");
    };
    assert!(
        ran.stderr
            .contains("/my data/kvstore/store.redb is open elsewhere"),
        "{}",
        ran.stderr
    );
    drop(import.stdin.take());
    assert!(import.wait().unwrap().success());
    assert_eq!(run(&["get", "k"], here).ends(0).text(), "v");

    if cfg!(target_os = "linux") {
        let home = folder.file("home");
        for data in ["", "not/from/the/root"] {
            run(
                &["set", "k", "v"],
                &[("HOME", &home), ("XDG_DATA_HOME", data)],
            )
            .ends(0);
        }
        assert!(std::fs::exists(format!("{home}/.local/share/kvstore/store.redb")).unwrap());
    }
    let ran = run(&["get", "k"], &[("XDG_DATA_HOME", "/dev/null")]).ends(3);
    assert!(
        ran.stderr
            .contains("the folder /dev/null/kvstore cannot be made"),
        "{}",
        ran.stderr
    );
}
