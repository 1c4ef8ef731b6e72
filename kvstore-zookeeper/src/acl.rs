//! Who may do what with the nodes that are made.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use kvstore_core::{Error, ErrorKind, Result};

/// What somebody may do with a node.
///
/// ```
/// use kvstore_zookeeper::Rights;
///
/// let all_but_admin = Rights::READ | Rights::WRITE | Rights::CREATE | Rights::DELETE;
/// assert_ne!(all_but_admin, Rights::ALL);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rights(i32);

impl Rights {
    /// To read a node's data and the names of its children.
    pub const READ: Self = Self(1);
    /// To write a node's data.
    pub const WRITE: Self = Self(2);
    /// To create children of a node.
    pub const CREATE: Self = Self(4);
    /// To delete children of a node.
    pub const DELETE: Self = Self(8);
    /// To change who may do what.
    pub const ADMIN: Self = Self(16);
    /// All of them.
    pub const ALL: Self = Self(31);

    pub(crate) const fn bits(self) -> i32 {
        self.0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The letters, as ZooKeeper's own tool has them.
const LETTERS: [(char, Rights); 5] = [
    ('c', Rights::CREATE),
    ('d', Rights::DELETE),
    ('r', Rights::READ),
    ('w', Rights::WRITE),
    ('a', Rights::ADMIN),
];

/// Prints the letters, as `cdrwa`.
impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = LETTERS.iter().filter(|(_, right)| self.0 & right.0 != 0);
        held.map(|(letter, _)| *letter)
            .try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// One entry of the list that a node is created with: who, and what they may do with it.
///
/// `Debug` prints no id: that of the scheme `digest` has the hash of a password.
///
/// ```
/// use kvstore_zookeeper::{Acl, Rights};
///
/// # fn main() -> kvstore_core::Result<()> {
/// let read_by_all: Acl = "world:anyone:r".parse()?;
/// assert_eq!(read_by_all, Acl::new("world", "anyone", Rights::READ));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Acl {
    pub(crate) scheme: String,
    pub(crate) id: String,
    pub(crate) rights: Rights,
}

impl Acl {
    /// An entry of any scheme that the server knows: `world` (whose id is `anyone`), `auth` (whoever creates
    /// the node; the id is empty), `digest` (`user:hash`), `ip`, `x509`. A URL cannot tell an id with a
    /// comma in it.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>, rights: Rights) -> Self {
        Self {
            scheme: scheme.into(),
            id: id.into(),
            rights,
        }
    }

    /// Everybody may do everything.
    pub fn open() -> Self {
        Self::new("world", "anyone", Rights::ALL)
    }

    /// How many bytes it takes in a request.
    pub(crate) fn len(&self) -> usize {
        self.scheme.len() + self.id.len() + 12
    }

    /// Whoever created a node may do everything with it, and nobody else anything. It needs credentials.
    pub fn creator() -> Self {
        Self::new("auth", "", Rights::ALL)
    }
}

/// Reads `scheme:id:rights`, as ZooKeeper's own tool has it, rights being some of the letters `cdrwa`.
impl FromStr for Acl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text
            .split_once(':')
            .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, letters))) = parts else {
            return Err(invalid());
        };
        let mut rights = 0;
        for letter in letters.chars() {
            let right = LETTERS.iter().find(|(known, _)| *known == letter);
            rights |= right.ok_or_else(invalid)?.1.0;
        }
        match scheme.is_empty() || rights == 0 {
            true => Err(invalid()),
            false => Ok(Self::new(scheme, id, Rights(rights))),
        }
    }
}

fn invalid() -> Error {
    let message = "an ACL is `scheme:id:rights`, the rights being some of the letters `cdrwa`, as `world:anyone:r`";
    Error::new(ErrorKind::InvalidConfig, message)
}

impl fmt::Debug for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…:{:?}", self.scheme, self.rights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        for (text, acl) in [
            ("world:anyone:cdrwa", Acl::open()),
            ("auth::cdrwa", Acl::creator()),
            (
                "digest:bob:h4+/=:rw",
                Acl::new("digest", "bob:h4+/=", Rights::READ | Rights::WRITE),
            ),
            (
                "ip:10.0.0.0/8:r",
                Acl::new("ip", "10.0.0.0/8", Rights::READ),
            ),
        ] {
            assert_eq!(text.parse::<Acl>().unwrap(), acl);
        }
        for text in [
            "",
            "world",
            "world:anyone",
            "world:anyone:",
            ":anyone:r",
            "world:anyone:rx",
        ] {
            let error = text.parse::<Acl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}");
        }
    }

    #[test]
    fn debug_prints_no_id() {
        let acl: Acl = "digest:bob:hunter2:rwa".parse().unwrap();
        assert_eq!(format!("{acl:?}"), "digest:…:rwa");
    }
}
