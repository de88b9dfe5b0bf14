//! `withy debug`: what is of use on a test bench, and dangerous elsewhere.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;

use super::{Exit, ask, unexpected};
use crate::{
    api::{
        keys,
        protocol::{Request, Response},
    },
    daemon::Directories,
};

/// What people write to agree.
const YES: &str = "yes";

#[derive(Debug, Subcommand)]
pub(super) enum Debug {
    /// DANGEROUS: write the keys of all security associations into a file, for Wireshark
    ///
    /// Whoever gets that file reads everything that the tunnels carry, and forges it, for as long as these keys are used, and reads whatever was
    /// recorded under them. Only root is given them. The file must not exist yet; it is made for its owner alone, with lines of
    /// Wireshark's table `esp_sa`. Remove it when done, and renew the keys (`withy rekey`).
    ExportKeys {
        /// The file to make
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Do not ask on the terminal
        #[arg(long)]
        i_know_that_this_exposes_all_traffic: bool,
    },
}

/// Why keys are not exported.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("{} cannot be made: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("nothing was exported")]
    Declined,
    #[error("there is no terminal to ask on: say --i-know-that-this-exposes-all-traffic if you do")]
    NoTerminal,
}

/// Does it.
pub(super) fn debug(directories: &Directories, what: &Debug) -> Exit {
    let Debug::ExportKeys {
        file,
        i_know_that_this_exposes_all_traffic: agreed,
    } = what;
    let keys = match agree(*agreed).and_then(|()| create(file)) {
        Ok(output) => export(directories, file, output),
        Err(error) => {
            eprintln!("withy: {error}");
            return Exit::Failed;
        }
    };
    match keys {
        Ok(count) => {
            eprintln!(
                "withy: warning: {} holds the keys of {count} security associations: remove it as soon as you are done, and renew the keys",
                file.display()
            );
            Exit::Fine
        }
        Err(exit) => {
            // It is empty, or of no use.
            let _ = std::fs::remove_file(file);
            exit
        }
    }
}

fn agree(agreed: bool) -> Result<(), ExportError> {
    if agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(ExportError::NoTerminal);
    }
    eprint!(
        "This writes down the keys of all tunnels. Whoever gets the file reads and forges everything that they carry.\n\
         Write {YES} to go on: "
    );
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == YES => Ok(()),
        _ => Err(ExportError::Declined),
    }
}

/// Makes the file before there are keys: nobody else ever has it open.
fn create(path: &Path) -> Result<File, ExportError> {
    let created = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    created.map_err(|error| ExportError::File(path.to_owned(), error))
}

/// Writes the keys; returns how many.
fn export(directories: &Directories, path: &Path, mut output: File) -> Result<usize, Exit> {
    let keys = match ask(directories, &Request::ExportKeys)? {
        Response::Keys(keys) => keys,
        other => return Err(unexpected(&other)),
    };
    let written = output.write_all(keys::wireshark(&keys).as_bytes());
    written.map_err(|error| {
        eprintln!("withy: {} cannot be written: {error}", path.display());
        Exit::Failed
    })?;
    Ok(keys.len())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_file_is_a_new_one_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let file = create(&path).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        let again = create(&path).unwrap_err().to_string();
        assert!(again.contains("cannot be made: File exists"), "{again}");
    }

    #[test]
    fn nothing_is_left_where_there_is_no_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let directories = Directories {
            run_dir: directory.path().to_owned(),
            state_dir: directory.path().to_owned(),
            bpffs: directory.path().to_owned(),
        };
        let what = Debug::ExportKeys {
            file: path.clone(),
            i_know_that_this_exposes_all_traffic: true,
        };
        assert_eq!(debug(&directories, &what), Exit::Unreachable);
        assert!(!path.exists());
    }
}
