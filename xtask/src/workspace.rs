//! What the workspace consists of, as cargo tells it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// What there is to check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

/// A crate of the workspace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
    /// It is published.
    pub(crate) public: bool,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self, String> {
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .output()
            .map_err(|e| format!("cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let metadata = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        Self::from_metadata(&metadata).ok_or_else(|| "cargo metadata has another form".to_owned())
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let member = |package: &Value| {
            Some(Member {
                name: package["name"].as_str()?.to_owned(),
                features: package["features"].as_object()?.keys().cloned().collect(),
                // The registries it may go to: `null` for any, an empty list for none.
                public: package["publish"]
                    .as_array()
                    .is_none_or(|list| !list.is_empty()),
            })
        };
        let members = metadata["packages"]
            .as_array()?
            .iter()
            .map(member)
            .collect::<Option<_>>()?;
        let target = metadata["target_directory"].as_str()?.into();
        Some(Self { members, target })
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_their_features_are_read() {
        let metadata = serde_json::json!({
            "packages": [
                { "name": "a", "features": { "x": ["y"], "y": [] }, "publish": null },
                { "name": "b", "features": {}, "publish": [] },
            ],
            "target_directory": "/t",
        });
        let member = |name: &str, features: &[&str], public| Member {
            name: name.to_owned(),
            features: features.iter().map(|&f| f.to_owned()).collect(),
            public,
        };
        let members = vec![member("a", &["x", "y"], true), member("b", &[], false)];
        let expected = Workspace {
            members,
            target: "/t".into(),
        };
        assert_eq!(Workspace::from_metadata(&metadata), Some(expected));
        assert_eq!(
            Workspace::from_metadata(&serde_json::json!({ "packages": [] })),
            None
        );
    }

    #[test]
    fn this_workspace_is_read() {
        let workspace = Workspace::read().unwrap();
        let xtask = workspace
            .members
            .iter()
            .find(|m| m.name == "xtask")
            .unwrap();
        assert!(!xtask.public);
        assert!(
            workspace
                .members
                .iter()
                .any(|m| m.name == "kvstore-core" && m.public)
        );
    }
}
