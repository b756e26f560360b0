//! The token: who has it may ask from elsewhere.
//!
//! It is made on the first start and kept in a file that only its owner may read. Browsers get it
//! once in an address, and from then on as a cookie; programs send it in a header.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, Result, bail};
use subtle::ConstantTimeEq;

/// Bytes of randomness in a token: 256 bits.
const BYTES: usize = 32;

/// A secret of 64 hexadecimal digits.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in the file at `path`, which is made if there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, holds something else, or can be read by others.
    pub fn open(path: &Path) -> Result<Self> {
        match Self::create(path) {
            Ok(token) => Ok(token),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::read(path),
            Err(error) => {
                Err(error).with_context(|| format!("cannot write the token {}", path.display()))
            }
        }
    }

    fn create(path: &Path) -> std::io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(format!("{token}\n").as_bytes())?;
        Ok(Self(token))
    }

    fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = fs::File::open(path).with_context(|| format!("cannot read the token {name}"))?;
        let metadata = file.metadata().with_context(|| format!("cannot read {name}"))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "the token {name} can be read by others (mode {mode:o}, user {}); chmod 600 it, or \
                 remove it for a new one",
                metadata.uid()
            );
        }
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
        let text = text.trim();
        if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("{name} holds no token; remove it for a new one");
        }
        Ok(Self(text.to_owned()))
    }

    /// The token as text, to be told to its owner and to nobody else.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// True if `text` is the token. Takes the same time wherever the two differ.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/token");
        let made = Token::open(&path).unwrap();
        assert_eq!(made.secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Token::open(&path).unwrap().is(made.secret()));
        assert!(!made.is("") && !made.is(&made.secret()[1..]));
        let other = Token::open(&folder.path().join("other")).unwrap();
        assert!(!other.is(made.secret()));
    }

    #[test]
    fn a_token_that_others_know_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        Token::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Token::open(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "secret").unwrap();
        assert!(Token::open(&path).is_err());
    }
}
