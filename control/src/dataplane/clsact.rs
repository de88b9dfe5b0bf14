//! TC attachment by filters of the clsact qdisc, for kernels before 6.6.

use std::{collections::BTreeSet, fs, io, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};

use super::Attachment;

/// `EEXIST`: the qdisc is there.
const EEXIST: i32 = 17;
/// The priority of our filters: high, for they decide first.
const PRIORITY: u16 = 1;
/// The handle of our filters; one in each direction of an interface.
const HANDLE: TcHandle = TcHandle::new(0x5749, 1);

/// Puts a program into its filter, in place where the filter exists.
pub(super) fn attach(
    program: &mut SchedClassifier,
    attachment: &Attachment,
    direction: TcAttachType,
    notes: &Path,
) -> Result<(), ProgramError> {
    let io_failed = |error: io::Error| ProgramError::TcError(TcError::IoError(error));
    let standing =
        SchedClassifierLink::attached(&attachment.interface, direction, PRIORITY, HANDLE, None)
            .map_err(io_failed)?;
    let id = if let Ok(id) = program.attach_to_link(standing) {
        id
    } else {
        add_qdisc(attachment, notes).map_err(io_failed)?;
        let options = NlOptions {
            priority: PRIORITY,
            handle: HANDLE,
            ..NlOptions::default()
        };
        let options = TcAttachOptions::Netlink(options);
        program.attach_with_options(&attachment.interface, direction, options)?
    };
    // Dropping the link would remove the filter, which is to outlive the daemon.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Adds the clsact qdisc, and notes it if it was not there.
fn add_qdisc(attachment: &Attachment, notes: &Path) -> io::Result<()> {
    match tc::qdisc_add_clsact(&attachment.interface) {
        Ok(()) => note(attachment.ifindex, notes),
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(EEXIST) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn note(ifindex: u32, notes: &Path) -> io::Result<()> {
    let mut interfaces = noted(notes);
    interfaces.insert(ifindex);
    let text: Vec<_> = interfaces.iter().map(ToString::to_string).collect();
    fs::write(notes, text.join("\n"))
}

/// Returns the interfaces that were given a clsact qdisc.
pub(super) fn noted(notes: &Path) -> BTreeSet<u32> {
    fs::read_to_string(notes)
        .map(|text| text.lines().filter_map(|line| line.parse().ok()).collect())
        .unwrap_or_default()
}

/// Removes our filters from an interface, if it has any.
pub(super) fn detach(interface: &str) {
    for (program, direction) in super::Hook::CLASSIFIERS {
        // Not found is what is wanted; an interface that vanished took its filters along.
        let _ = tc::qdisc_detach_program(interface, direction, program);
    }
}
