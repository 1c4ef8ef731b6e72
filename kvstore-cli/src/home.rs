//! The store that is used where none is named: a file in the user's data folder.

use crate::failure::Failure;

const NO_STORE: &str =
    "no store is named: give its URL by `--store`, or in the variable KVSTORE_URL";

/// Its URL. The folder of the file is made where it is missing.
#[cfg(feature = "file")]
pub(crate) fn url() -> Result<String, Failure> {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    /// What is percent-encoded in a path. A drive of Windows keeps its colon.
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b':')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_');

    let folder = data_folder().ok_or_else(|| Failure::usage(NO_STORE))?;
    let folder = folder.join("kvstore");
    let shown = folder.display();
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .recursive(true)
        .create(&folder)
        .map_err(|error| Failure::io(&format!("the folder {shown} cannot be made"), error))?;
    match folder.join("store.redb").to_str() {
        Some(path) => Ok(format!("file:{}", utf8_percent_encode(path, ENCODED))),
        None => Err(Failure::usage(format!(
            "the name of the folder {shown} is not UTF-8; {NO_STORE}"
        ))),
    }
}

#[cfg(not(feature = "file"))]
pub(crate) fn url() -> Result<String, Failure> {
    Err(Failure::usage(NO_STORE))
}

/// Where the system wants programs to keep what their users made.
#[cfg(feature = "file")]
fn data_folder() -> Option<std::path::PathBuf> {
    let home = |folder| Some(std::env::home_dir()?.join(folder));
    // What is not a path from the root is to be ignored, by the XDG base directory specification.
    let named = |variable| {
        let folder = std::env::var_os(variable).map(std::path::PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    if cfg!(windows) {
        return named("LOCALAPPDATA").or_else(|| home("AppData/Local"));
    }
    named("XDG_DATA_HOME").or_else(|| match cfg!(target_os = "macos") {
        true => home("Library/Application Support"),
        false => home(".local/share"),
    })
}
