//! The access key of a profile, as the AWS command keeps it in `~/.aws`.

use std::path::PathBuf;
use std::{env, fs, io};

use kvstore_core::{Error, ErrorKind, Result};

use crate::login::variable;

/// An access key, as the file has it.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// The key of the profile that `AWS_PROFILE` names, which then has to have one, or of `default`, if it has one.
pub(crate) fn find() -> Result<Option<Keys>> {
    let named = variable("AWS_PROFILE");
    let name = named.as_deref().unwrap_or("default");
    let of_config = match name {
        "default" => name.to_owned(),
        _ => format!("profile {name}"),
    };
    for (place, file, section) in [
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
        ("AWS_CONFIG_FILE", "config", &of_config),
    ] {
        if let Some(text) = read(place, file)?
            && let Some(keys) = keys(&text, section)
        {
            return Ok(Some(keys));
        }
    }
    match named {
        None => Ok(None),
        Some(_) => Err(invalid(
            "the profile that `AWS_PROFILE` names has no access key; roles, sign-on and processes of profiles are not followed",
        )),
    }
}

/// What is in one of the files, if there is one.
fn read(place: &str, file: &str) -> Result<Option<String>> {
    let named = variable(place).map(PathBuf::from);
    let of_home = || Some(env::home_dir()?.join(".aws").join(file));
    let Some(path) = named.clone().or_else(of_home) else {
        return Ok(None);
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => {
            let message = format!("AWS's file `{file}` cannot be read");
            Err(invalid(message).with_source(error))
        }
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

/// The access key of a section, if it has a whole one.
fn keys(text: &str, section: &str) -> Option<Keys> {
    let mut keys = Keys::default();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.split(']').next().unwrap_or_default();
            inside = name.split_whitespace().eq(section.split_whitespace());
        }
        // What is indented belongs to the line before. No key has a space, so what comes after is a comment.
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let value = value.split_whitespace().next().unwrap_or_default();
        match name.trim_end() {
            "aws_access_key_id" => value.clone_into(&mut keys.id),
            "aws_secret_access_key" => value.clone_into(&mut keys.secret),
            "aws_session_token" => keys.token = Some(value.to_owned()),
            _ => {}
        }
    }
    (!keys.id.is_empty() && !keys.secret.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_a_whole_key_or_none() {
        let text = "aws_access_key_id = outside\n\
            [default]\naws_access_key_id = one\n# aws_access_key_id = no\naws_secret_access_key=a+/= # ours\n\
            region = eu-1\n\n\
            [profile  team a]\naws_secret_access_key = b\naws_access_key_id= two\naws_session_token =tok==\n\
            s3 =\n  aws_access_key_id = nested\n\
            [role]\nrole_arn = arn:aws:iam::1:role/x\naws_access_key_id = three\n";
        let whole = |id: &str, secret: &str, token: Option<&str>| {
            Some(Keys {
                id: id.to_owned(),
                secret: secret.to_owned(),
                token: token.map(str::to_owned),
            })
        };
        assert!(keys(text, "default") == whole("one", "a+/=", None));
        assert!(keys(text, "profile team a") == whole("two", "b", Some("tok==")));
        for none in ["team a", "role", "profile", ""] {
            assert!(keys(text, none).is_none(), "{none}");
        }
        assert!(keys("", "default").is_none() && keys("[default", "default").is_none());
    }
}
