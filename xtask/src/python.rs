//! Packages of Python's: servers that come in some, and a client that tests use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::run;

/// A package, in one version.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

impl Package {
    const fn new(name: &'static str, version: &'static str, sha256: &'static str) -> Self {
        Self {
            name,
            version,
            sha256,
        }
    }
}

/// Upstash's own client, with all that it needs: the tests hold their front for Upstash against it. All of
/// it is Python alone, and runs on any machine with Python 3.11 or later.
const UPSTASH: &[Package] = &[
    Package::new(
        "upstash-redis",
        "1.8.0",
        "e08f18d9a955b2b224ab8d1611a9782bc21054a83afb3b88df36809ff87096fa",
    ),
    Package::new(
        "httpx",
        "0.28.1",
        "d909fcccc110f8c7faf814ca82a9a4d816bc5a6dbfea25d6591d6985b8ba59ad",
    ),
    Package::new(
        "httpcore",
        "1.0.9",
        "2d400746a40668fc9dec9810239072b40b4484b640a8c38fd654a024c7a1bf55",
    ),
    Package::new(
        "h11",
        "0.16.0",
        "63cf8bbe7522de3bf65932fda1d9c2772064ffb3dae62d55932da54b31cb6c86",
    ),
    Package::new(
        "anyio",
        "4.16.0",
        "c66ae634e0b8228396b801741beb3294326d4b6102f7bba4041c0dfb58c29026",
    ),
    Package::new(
        "certifi",
        "2026.10.19.post1",
        "1324c476b4811eff41a8bc2122cd0bbd4d9c7234c725446d99ab1612b3a7fdd2",
    ),
    Package::new(
        "idna",
        "3.20",
        "ab7ae7122974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c",
    ),
    Package::new(
        "typing-extensions",
        "4.16.0",
        "481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8",
    ),
];

/// The file in a folder of packages that says which they are.
const WANTED: &str = "wanted.txt";

/// Puts Upstash's client into a folder of the tools if it is not there in these versions, and gives a line on it;
/// `needs_pip` sees to it that there is a pip.
pub(crate) fn install_client(
    tools: &Path,
    needs_pip: impl FnOnce() -> Result<(), String>,
) -> Result<String, String> {
    let folder = tools.join("upstash-redis");
    let wanted = wanted(UPSTASH);
    let there = fs::read_to_string(folder.join(WANTED)).is_ok_and(|there| there == wanted);
    if !there {
        // Beside it, so that it is moved there in one step.
        in_folder(&folder.with_extension("download"), |download| {
            needs_pip()?;
            let unpacked = unpack(UPSTASH, download)?;
            let at = |e| format!("{}: {e}", folder.display());
            fs::write(unpacked.join(WANTED), &wanted).map_err(at)?;
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(at)?;
            }
            fs::rename(&unpacked, &folder).map_err(at)
        })
        .map_err(|e| format!("cannot install Upstash's client for Python: {e}"))?;
    }
    let how = if there { "was there" } else { "installed" };
    let (path, names) = (folder.display(), names(UPSTASH));
    Ok(format!(
        "{path}, from the Python packages {names}, {how}: {}",
        runs(&folder)?
    ))
}

/// What Python says of the client, which also shows that it runs.
fn runs(folder: &Path) -> Result<String, String> {
    const PROGRAM: &str = "\
import sys, upstash_redis, upstash_redis.asyncio
print(f'{upstash_redis.__version__} with Python {sys.version.split()[0]}')";
    let mut command = Command::new("python3");
    command
        .args(["-B", "-c", PROGRAM])
        .env("PYTHONPATH", folder);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("python3 does not run: {e}"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "Upstash's client, which needs Python 3.11 or later, does not run: {}",
            text(&output.stderr)
        )),
    }
}

/// Gives a folder to fill, which is gone afterwards.
pub(crate) fn in_folder<T>(
    folder: &Path,
    fill: impl FnOnce(&Path) -> Result<T, String>,
) -> Result<T, String> {
    // What an earlier run left of it, if any.
    let _ = fs::remove_dir_all(folder);
    let done = fs::create_dir_all(folder)
        .map_err(|e| format!("{}: {e}", folder.display()))
        .and_then(|()| fill(folder));
    // What is left of it is no reason to fail.
    let _ = fs::remove_dir_all(folder);
    done
}

/// Downloads packages into a folder, and unpacks them all into one folder in it.
pub(crate) fn unpack(packages: &[Package], folder: &Path) -> Result<PathBuf, String> {
    let at = |e| format!("{}: {e}", folder.display());
    let list = folder.join(WANTED);
    fs::write(&list, wanted(packages)).map_err(at)?;
    let mut pip = python(&[
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--quiet",
    ]);
    run(pip.arg("--dest").arg(folder).arg("-r").arg(&list))?;
    let files = fs::read_dir(folder).map_err(at)?;
    let files = files.flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "whl");
    let files: Vec<_> = files.filter(is_package).collect();
    if files.len() != packages.len() {
        return Err(format!("pip has left {} packages", files.len()));
    }
    let unpacked = folder.join("unpacked");
    for file in files {
        run(python(&["zipfile", "-e"]).arg(file).arg(&unpacked))?;
    }
    Ok(unpacked)
}

/// The packages as pip reads them.
fn wanted(packages: &[Package]) -> String {
    let line = |package: &Package| {
        let Package {
            name,
            version,
            sha256,
        } = package;
        format!("{name}=={version} --hash=sha256:{sha256}\n")
    };
    packages.iter().map(line).collect()
}

fn names(packages: &[Package]) -> String {
    let name = |package: &Package| format!("{} {}", package.name, package.version);
    packages.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn python(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg("-m").args(args).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_client_needs_is_pinned() {
        for line in wanted(UPSTASH).lines() {
            let (package, hash) = line.split_once(" --hash=sha256:").unwrap();
            assert!(package.contains("=="), "{package}");
            assert_eq!(hash.len(), 64, "{package}");
        }
        assert!(names(UPSTASH).starts_with("upstash-redis 1.8.0, httpx 0.28.1, "));
    }

    #[test]
    fn a_folder_that_was_filled_is_gone() {
        let folder =
            std::env::temp_dir().join(format!("kvstore-xtask-python-{}", std::process::id()));
        let fill = |folder: &Path| fs::write(folder.join("file"), "").map_err(|e| e.to_string());
        for _ in 0..2 {
            in_folder(&folder, fill).unwrap();
            assert!(!folder.exists());
        }
        in_folder(&folder, |_| Err::<(), _>("no".to_owned())).unwrap_err();
        assert!(!folder.exists());
    }
}
