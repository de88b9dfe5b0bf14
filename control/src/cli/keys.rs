//! `withy genkey` and `withy pubkey`.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
};

use zeroize::Zeroizing;

use super::{Exit, exit};
use crate::identity::{IllegalKey, PrivateKey, PublicKey};

/// More than any key file has, in bytes.
const MAX_INPUT: u16 = 1024;

/// Why there is no key to print.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("standard input cannot be read: {0}")]
    Read(io::Error),
    #[error("the key cannot be written: {0}")]
    Write(io::Error),
    #[error("standard input holds no private key: {0}")]
    Illegal(IllegalKey),
    #[error("no key can be made: {0}")]
    Generate(IllegalKey),
}

/// Prints a new private key.
pub(super) fn genkey() -> Exit {
    finish(standard_output().and_then(|output| generate(&output)))
}

/// Prints the public key of the private key on standard input.
pub(super) fn pubkey() -> Exit {
    finish(derive(io::stdin().lock()).map(|key| exit::print(&format!("{key}\n"))))
}

fn finish(result: Result<(), KeyError>) -> Exit {
    match result {
        Ok(()) => Exit::Fine,
        Err(error) => {
            eprintln!("withy: {error}");
            Exit::Failed
        }
    }
}

/// Returns standard output without the buffer of the standard library, which would keep a copy of the key.
fn standard_output() -> Result<File, KeyError> {
    let output = io::stdout().as_fd().try_clone_to_owned();
    output.map(File::from).map_err(KeyError::Write)
}

/// Writes a new key. That nobody else may read it is up to the caller, who is told if it is not so.
fn generate(mut output: &File) -> Result<(), KeyError> {
    if is_exposed(output) {
        eprintln!(
            "withy: warning: others may open this file: remove it, and make another key after `umask 077`"
        );
    }
    let key = PrivateKey::generate().map_err(KeyError::Generate)?;
    let mut line = key.to_text();
    line.push('\n');
    output.write_all(line.as_bytes()).map_err(KeyError::Write)
}

/// Whether it is a file that others than its owner have any right to.
fn is_exposed(output: &File) -> bool {
    output
        .metadata()
        .is_ok_and(|facts| facts.is_file() && facts.mode() & 0o077 != 0)
}

fn derive(input: impl Read) -> Result<PublicKey, KeyError> {
    // Reserved at once: a string that grows would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::from(MAX_INPUT)));
    input
        .take(MAX_INPUT.into())
        .read_to_string(&mut text)
        .map_err(KeyError::Read)?;
    PrivateKey::parse(&text)
        .and_then(|key| key.public())
        .map_err(KeyError::Illegal)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_new_key_is_a_line_that_gives_a_public_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        generate(file.as_file()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.len(), 45);
        let key = PrivateKey::parse(&text).unwrap();
        assert_eq!(derive(text.as_bytes()).unwrap(), key.public().unwrap());
    }

    #[test]
    fn a_key_that_cannot_be_written_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(matches!(generate(&full), Err(KeyError::Write(_))));
    }

    #[test]
    fn a_file_for_others_is_worth_a_warning() {
        let file = tempfile::tempfile().unwrap();
        for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o602, true)] {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_exposed(&file), exposed, "{mode:o}");
        }
        assert!(!is_exposed(&File::open("/dev/null").unwrap()));
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        for text in ["", "key\n", &"A".repeat(5000)] {
            let error = derive(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("standard input holds no private key: "));
        }
        assert!(matches!(derive([0xff].as_slice()), Err(KeyError::Read(_))));
    }
}
