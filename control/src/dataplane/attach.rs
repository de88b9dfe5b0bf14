//! Attaching programs to interfaces so that they outlive the daemon.

use std::path::Path;

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, LinkError, LinkOrder, PinnedLink},
    tc::TcAttachOptions,
};
use tracing::debug;

use super::{Dataplane, DataplaneError, clsact};

/// How a link receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// Native XDP, or an error.
    Xdp,
    /// TC ingress.
    Tc,
    /// Native XDP where the driver has it, else TC ingress.
    XdpOrTc,
}

/// A place for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Egress of the bundle device.
    BundleTx,
    /// Arrival on a link.
    LinkRx(Receive),
    /// Ingress from the private network.
    LanIn,
    /// Egress to the private network.
    LanOut,
}

impl Hook {
    /// The names of all programs.
    pub const PROGRAMS: [&'static str; 5] = [
        "bundle_tx",
        "link_rx_xdp",
        "link_rx_tc",
        "lan_in",
        "lan_out",
    ];

    /// The names and directions of the TC programs.
    pub(super) const CLASSIFIERS: [(&'static str, TcAttachType); 4] = [
        ("bundle_tx", TcAttachType::Egress),
        ("link_rx_tc", TcAttachType::Ingress),
        ("lan_in", TcAttachType::Ingress),
        ("lan_out", TcAttachType::Egress),
    ];

    /// The TC program of this hook, and its direction.
    const fn classifier(self) -> (&'static str, TcAttachType) {
        Self::CLASSIFIERS[match self {
            Self::BundleTx => 0,
            Self::LinkRx(_) => 1,
            Self::LanIn => 2,
            Self::LanOut => 3,
        }]
    }
}

/// A program that should be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where on the interface.
    pub hook: Hook,
    /// The interface's name.
    pub interface: String,
    /// The interface's index.
    pub ifindex: u32,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Native XDP.
    Xdp,
    /// TC through a TCX link.
    Tcx,
    /// TC through a filter of the clsact qdisc.
    Clsact,
}

impl Attached {
    /// The word for status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx | Self::Clsact => "tc",
        }
    }
}

impl Dataplane {
    /// Attaches what is wanted, replaces programs of an earlier run in place, and detaches the rest.
    /// Idempotent: what stands is left standing.
    ///
    /// The results are in the order of `wanted`. `notes` is a file that remembers which interfaces
    /// were given a clsact qdisc, on kernels that need one.
    pub fn attach(
        &mut self,
        wanted: &[Attachment],
        notes: &Path,
    ) -> Vec<Result<Attached, DataplaneError>> {
        let mut keep = Vec::new();
        let results = wanted
            .iter()
            .map(|attachment| {
                let attached = self.attach_one(attachment, notes)?;
                let (name, _) = attachment.hook.classifier();
                let name = if attached == Attached::Xdp {
                    "link_rx_xdp"
                } else {
                    name
                };
                keep.push(self.pins.link(name, attachment.ifindex));
                Ok(attached)
            })
            .collect();
        if let Err(error) = self.pins.retain_links(&keep) {
            debug!(%error, "stale links remain");
        }
        results
    }

    /// Tells whether a program that was attached by TCX is still there.
    #[must_use]
    pub fn stands(&self, attachment: &Attachment) -> bool {
        let (name, direction) = attachment.hook.classifier();
        let Some(Ok(program)) = self.ebpf.program(name).map(<&SchedClassifier>::try_from) else {
            return false;
        };
        stands(program, &attachment.interface, direction).unwrap_or(false)
    }

    fn attach_one(
        &mut self,
        attachment: &Attachment,
        notes: &Path,
    ) -> Result<Attached, DataplaneError> {
        match attachment.hook {
            Hook::LinkRx(Receive::Xdp) => self.attach_xdp(attachment),
            Hook::LinkRx(Receive::XdpOrTc) => match self.attach_xdp(attachment) {
                Err(error) => {
                    debug!(%error, interface = attachment.interface, "receiving by TC");
                    self.attach_tc(attachment, notes)
                }
                attached => attached,
            },
            _ => self.attach_tc(attachment, notes),
        }
    }

    fn attach_xdp(&mut self, attachment: &Attachment) -> Result<Attached, DataplaneError> {
        const NAME: &str = "link_rx_xdp";
        let pin = self.pins.link(NAME, attachment.ifindex);
        let program = self
            .ebpf
            .program_mut(NAME)
            .ok_or(DataplaneError::Missing(NAME))?;
        let failed = failed(NAME, attachment);
        let program: &mut Xdp = program.try_into().map_err(&failed)?;
        if let Some(link) = adopted(&pin)
            && let Ok(link) = link.try_into()
            && program
                .attach_to_link(link)
                .and_then(|id| program.take_link(id))
                .is_ok_and(|link| FdLink::try_from(link).is_ok())
        {
            return Ok(Attached::Xdp);
        }
        forget(&pin)?;
        let id = program
            .attach_to_if_index(attachment.ifindex, XdpMode::Driver)
            .map_err(|error| no_native_xdp(error, attachment))?;
        let link = program.take_link(id).map_err(&failed)?;
        pin_link(FdLink::try_from(link), &pin)?;
        Ok(Attached::Xdp)
    }

    fn attach_tc(
        &mut self,
        attachment: &Attachment,
        notes: &Path,
    ) -> Result<Attached, DataplaneError> {
        let (name, direction) = attachment.hook.classifier();
        let pin = self.pins.link(name, attachment.ifindex);
        let tcx = self.tcx;
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or(DataplaneError::Missing(name))?;
        let failed = failed(name, attachment);
        let program: &mut SchedClassifier = program.try_into().map_err(&failed)?;
        if !tcx {
            clsact::attach(program, attachment, direction, notes).map_err(&failed)?;
            return Ok(Attached::Clsact);
        }
        if stands(program, &attachment.interface, direction).map_err(&failed)? {
            return Ok(Attached::Tcx);
        }
        if let Some(link) = adopted(&pin)
            && let Ok(link) = link.try_into()
            && program
                .attach_to_link(link)
                .and_then(|id| program.take_link(id))
                .is_ok_and(|link| FdLink::try_from(link).is_ok())
            && stands(program, &attachment.interface, direction).map_err(&failed)?
        {
            return Ok(Attached::Tcx);
        }
        forget(&pin)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(&attachment.interface, direction, order)
            .map_err(&failed)?;
        let link = program.take_link(id).map_err(&failed)?;
        pin_link(FdLink::try_from(link), &pin)?;
        Ok(Attached::Tcx)
    }
}

/// Tells whether this very program is at an interface's TCX hook.
fn stands(
    program: &SchedClassifier,
    interface: &str,
    direction: TcAttachType,
) -> Result<bool, ProgramError> {
    let own = program.info()?.id();
    let (_, programs) = SchedClassifier::query_tcx(interface, direction)?;
    Ok(programs.iter().any(|found| found.id() == own))
}

/// Opens the link that an earlier run left behind.
fn adopted(pin: &Path) -> Option<FdLink> {
    PinnedLink::from_pin(pin).ok().map(FdLink::from)
}

/// Removes the pin of a link whose interface is gone.
fn forget(pin: &Path) -> Result<(), DataplaneError> {
    match std::fs::remove_file(pin) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DataplaneError::Pin {
            path: pin.to_owned(),
            message: error.to_string(),
        }),
        _ => Ok(()),
    }
}

fn pin_link(link: Result<FdLink, LinkError>, pin: &Path) -> Result<(), DataplaneError> {
    let failed = |message| DataplaneError::Pin {
        path: pin.to_owned(),
        message,
    };
    let link = link.map_err(|error| failed(error.to_string()))?;
    link.pin(pin)
        .map(drop)
        .map_err(|error| failed(error.to_string()))
}

fn failed(
    program: &'static str,
    attachment: &Attachment,
) -> impl Fn(ProgramError) -> DataplaneError + use<> {
    let interface = attachment.interface.clone();
    move |source| DataplaneError::Attach {
        program,
        interface: interface.clone(),
        source,
    }
}

fn no_native_xdp(error: ProgramError, attachment: &Attachment) -> DataplaneError {
    match &error {
        ProgramError::SyscallError(call)
            if call.io_error.kind() == std::io::ErrorKind::Unsupported =>
        {
            DataplaneError::NoNativeXdp {
                interface: attachment.interface.clone(),
            }
        }
        _ => failed("link_rx_xdp", attachment)(error),
    }
}
