//! Files in the state directory: JSON, written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Reads a file.
pub(super) fn load<T: DeserializeOwned>(file: &Path) -> io::Result<T> {
    let file = File::open(file)?;
    if file.metadata()?.len() > MAX_FILE {
        let text = format!("it is longer than {MAX_FILE} bytes");
        return Err(io::Error::other(text));
    }
    Ok(serde_json::from_reader(io::BufReader::new(file))?)
}

/// Writes a file, whole or not at all.
pub(super) fn store<T: Serialize>(file: &Path, value: &T) -> io::Result<()> {
    let next = file.with_extension("next");
    let mut out = File::create(&next)?;
    out.write_all(&serde_json::to_vec_pretty(value)?)?;
    out.sync_all()?;
    fs::rename(next, file)
}
