//! The data of the tour: what `cargo metadata` says of this workspace and all it depends on.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Step;

/// A package as the tour stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) req: String,
    pub(crate) kind: Option<String>,
    pub(crate) optional: bool,
}

impl Package {
    /// `name/version`: an ordinary key, which stands on every server as it is.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

/// Asks cargo for the packages.
pub(crate) fn read() -> Step<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    // Cargo names itself to what it runs.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--manifest-path"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`cargo metadata` failed: {}", said.trim()).into());
    }
    let mut metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    // OpenBao takes 1,000 strings in a request, and bindings to a whole platform have more features.
    metadata
        .packages
        .retain(|package| package.features.len() <= 100);
    Ok(metadata.packages)
}
