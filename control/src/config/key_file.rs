//! Key files: only their owner may have access to them.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use zeroize::{Zeroize as _, Zeroizing};

use super::key::KeyError;
use crate::identity::PrivateKey;

/// More than the longest key in hexadecimal, with generous whitespace, in bytes.
pub(super) const MAX_FILE: u64 = 4096;

/// Reads a gateway's private key: its text, whitespace around it ignored.
///
/// # Errors
///
/// Any [`KeyError`] but those of the form and length of keys in hexadecimal.
pub(super) fn read_identity(path: &Path) -> Result<PrivateKey, KeyError> {
    let bytes = read(path)?;
    let key = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| PrivateKey::parse(text).ok());
    // A key that the library cannot use is found here, where its file is known.
    let key = key
        .filter(|key| key.public().is_ok())
        .ok_or_else(|| KeyError::NotAnIdentity {
            path: path.to_owned(),
        })?;
    if key.seed().iter().all(|byte| *byte == 0) {
        return Err(KeyError::Zero);
    }
    Ok(key)
}

/// Reads the bytes of a key in hexadecimal, whitespace ignored.
///
/// # Errors
///
/// Any [`KeyError`] but those of the length and the contents of the key.
pub(super) fn read_hex(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    decode_hex(&read(path)?).ok_or_else(|| KeyError::NotHex {
        path: path.to_owned(),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(KeyError::NotAFile {
            path: path.to_owned(),
        });
    }
    check_access(
        path,
        facts.mode(),
        facts.uid(),
        rustix::process::geteuid().as_raw(),
    )?;
    // Reserved at once: a vector that grows would leave copies of the key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_FILE + 1).unwrap_or(0),
    ));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(KeyError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

fn check_access(path: &Path, mode: u32, owner: u32, user: u32) -> Result<(), KeyError> {
    let mode = mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    if owner != 0 && owner != user {
        return Err(KeyError::Owner {
            path: path.to_owned(),
            owner,
        });
    }
    Ok(())
}

fn decode_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let mut digits = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    while let Some(high) = digits.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let mut byte = u8::try_from(digit(*high)? * 16 + digit(*digits.next()?)?).ok()?;
        bytes.push(byte);
        byte.zeroize();
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_may_be_laid_out_freely() {
        assert_eq!(
            decode_hex(b" 0aFf\n 10\t").as_deref(),
            Some(&vec![0x0a, 0xff, 0x10])
        );
        assert_eq!(decode_hex(b"0a f"), None);
        assert_eq!(decode_hex(b"0x0a"), None);
    }

    #[test]
    fn only_the_owner_may_have_access() {
        let check = |mode, owner, user| check_access(Path::new("k"), mode, owner, user).is_ok();
        assert!(check(0o100_600, 0, 0) && check(0o100_400, 7, 7) && check(0o100_600, 0, 7));
        assert!(!check(0o100_640, 0, 0) && !check(0o100_602, 0, 0) && !check(0o100_600, 7, 0));
    }
}
