//! Topic and channel names: checked once, where they come in, and true from there on.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Whether `bytes` may name a topic or a channel.
///
/// One to 64 bytes in all: one or more of `.`, `_`, `-`, ASCII letters and digits, and then perhaps
/// the suffix `#ephemeral`. Source: `isValidName`, nsq 1.3.0, internal/protocol/names.go.
pub fn is_valid_name(bytes: &[u8]) -> bool {
    let base = bytes.strip_suffix(EPHEMERAL).unwrap_or(bytes);
    bytes.len() <= MAX_NAME_BYTES
        && !base.is_empty()
        && base.iter().all(|&byte| IS_NAME_BYTE[usize::from(byte)])
}

/// `bytes` as text if they are a valid name.
pub(crate) fn valid_name(bytes: &[u8]) -> Option<&str> {
    if is_valid_name(bytes) {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// A text that cannot name a topic or a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid name")]
pub struct InvalidName(pub String);

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes a copy of it.
            ///
            /// # Errors
            /// [`InvalidName`] unless [`is_valid_name`] says yes.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                if is_valid_name(text.as_bytes()) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidName(text.to_owned()))
                }
            }

            /// The name as it stands on the wire, suffix included.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name ends in `#ephemeral`: such a thing never touches the disk and goes
            /// away with its last user.
            pub fn is_ephemeral(&self) -> bool {
                self.0.as_bytes().ends_with(EPHEMERAL)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        // `Hash`, `Eq` and `Ord` of the derive are those of `str`, as `Borrow` demands.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name_type! {
    /// The name of a topic. A clone costs one counter, not a copy.
    TopicName
}

name_type! {
    /// The name of a channel, unique within its topic. A clone costs one counter, not a copy.
    ChannelName
}

const MAX_NAME_BYTES: usize = 64;
const EPHEMERAL: &[u8] = b"#ephemeral";

/// True for the bytes a name may hold before its suffix.
static IS_NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut index = 0;
    while index < allowed.len() {
        table[allowed[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn letters_digits_dot_dash_and_underscore_make_a_name() {
        for name in ["a", "A-b_c.9", ".", "t#ephemeral", &"x".repeat(64)] {
            assert!(is_valid_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long_ephemeral = format!("{}#ephemeral", "x".repeat(55));
        for name in [
            "",
            "#ephemeral",
            "a#ephemera",
            "a#ephemeral#ephemeral",
            "a#EPHEMERAL",
            "a b",
            "a\n",
            "a/b",
            "é",
            &"x".repeat(65),
            &long_ephemeral,
        ] {
            assert!(!is_valid_name(name.as_bytes()), "{name}");
        }
        assert!(!is_valid_name(b"\xff"));
    }

    #[test]
    fn the_suffix_counts_in_the_length() {
        let name = format!("{}#ephemeral", "x".repeat(54));
        assert!(TopicName::parse(&name).unwrap().is_ephemeral());
        assert!(!TopicName::parse("t").unwrap().is_ephemeral());
    }

    #[test]
    fn a_map_keyed_by_names_is_searched_by_text() {
        let map = HashMap::from([(ChannelName::parse("c").unwrap(), 1)]);
        assert_eq!(map.get("c"), Some(&1));
        assert_eq!(map.get("d"), None);
    }

    #[test]
    fn a_bad_name_is_named_in_the_error() {
        let refused = TopicName::parse("a b").unwrap_err();
        assert_eq!(refused.to_string(), "\"a b\" is not a valid name");
    }
}
