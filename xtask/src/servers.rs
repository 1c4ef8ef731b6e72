//! The servers that tests need: found on this machine, or installed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// A server, and where Debian has it.
struct Server {
    program: &'static str,
    package: &'static str,
    /// The program in that package.
    path: &'static str,
}

const SERVERS: &[Server] = &[Server {
    program: "redis-server",
    // Debian's package `redis-server` makes a service that starts at once, of the program that is
    // in this one, under another name.
    package: "redis-tools",
    path: "/usr/bin/redis-check-rdb",
}];

/// The folder for programs that are not on the `PATH`; `kvstore-testsuite` looks there first.
pub(crate) fn tools() -> Result<PathBuf, String> {
    env::var_os("KVSTORE_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cache/kvstore-tools")))
        .ok_or_else(|| "no home folder: set KVSTORE_TOOLS to a folder for programs".to_owned())
}

/// Installs what is missing, and gives a line on each server: what it is and how it came here.
pub(crate) fn install() -> Result<Vec<String>, String> {
    SERVERS
        .iter()
        .map(|server| install_one(server, &tools()?))
        .collect()
}

fn install_one(server: &Server, tools: &Path) -> Result<String, String> {
    let mut folders = vec![tools.to_owned()];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    if let Some(path) = find(server.program, &folders) {
        return Ok(format!(
            "{}, was there: {}",
            path.display(),
            version(&path)?
        ));
    }
    let mut origin = format!("from the package {}, was there", server.package);
    if !Path::new(server.path).exists() {
        apt_get(server)?;
        origin = format!("from the package {}, installed", server.package);
    }
    let path = tools.join(server.program);
    fs::create_dir_all(tools)
        .and_then(|()| symlink(server.path, &path))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(format!("{}, {origin}: {}", path.display(), version(&path)?))
}

fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn apt_get(server: &Server) -> Result<(), String> {
    let Server {
        program, package, ..
    } = server;
    let failed = |e| {
        format!(
            "cannot install `{program}`: {e}\n\
             As root on Debian or Ubuntu, this command does it; elsewhere, install `{program}` so \
             that it is on the PATH."
        )
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    // The lists of packages may be missing, as in a container, or name what is gone.
    if run_apt_get(&install).is_err() {
        run_apt_get(&["update"])
            .and_then(|()| run_apt_get(&install))
            .map_err(failed)?;
    }
    if !Path::new(server.path).exists() {
        return Err(failed(format!(
            "the package {package} is without {}",
            server.path
        )));
    }
    Ok(())
}

fn run_apt_get(args: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("apt-get: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("apt-get {} failed", args.join(" ")))
    }
}

/// What the program says of itself, which also shows that it runs.
fn version(path: &Path) -> Result<String, String> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        Ok(output) => Err(format!("{} --version: {}", path.display(), output.status)),
        Err(e) => Err(format!("{} --version: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_in_order() {
        let folders = ["/nowhere", "/bin", "/usr/bin"].map(PathBuf::from);
        assert_eq!(find("sh", &folders), Some("/bin/sh".into()));
        assert_eq!(find("no-such-program", &folders), None);
        // A folder is no program.
        assert_eq!(find("bin", &["/".into()]), None);
    }

    #[test]
    fn what_is_in_a_package_that_is_there_is_linked() {
        let tools = env::temp_dir().join(format!("kvstore-xtask-{}", std::process::id()));
        let server = Server {
            program: "kvstore-test-true",
            package: "coreutils",
            path: "/bin/true",
        };
        let first = install_one(&server, &tools);
        let second = install_one(&server, &tools);
        fs::remove_dir_all(&tools).unwrap();
        let path = tools.join(server.program);
        let origin = format!(
            "{}, from the package coreutils, was there: ",
            path.display()
        );
        assert!(first.clone().unwrap().starts_with(&origin), "{first:?}");
        assert!(
            second
                .clone()
                .unwrap()
                .starts_with(&format!("{}, was there: ", path.display())),
            "{second:?}"
        );
    }

    #[test]
    fn a_program_that_does_not_run_is_an_error() {
        assert!(version(Path::new("/bin/false")).is_err());
        assert!(version(Path::new("/nowhere/program")).is_err());
    }
}
