//! Loading the programs onto pinned maps.

use std::{fmt, path::Path};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, SchedClassifier, TcAttachType, Xdp},
};

use aya_log::EbpfLogger;
use tracing::warn;

use super::{
    DataplaneError, OBJECT,
    attach::Hook,
    bpffs, flows,
    pins::Pins,
    tables::{self, Tables},
};

/// The sizes of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most SVCs, and remote subnets.
    pub svcs: u32,
    /// The most IVCs.
    pub ivcs: u32,
}

/// The loaded programs.
pub struct Dataplane {
    pub(super) ebpf: Ebpf,
    pub(super) pins: Pins,
    pub(super) tcx: bool,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane")
            .field("pins", &self.pins)
            .field("tcx", &self.tcx)
            .finish_non_exhaustive()
    }
}

impl Dataplane {
    /// Loads the programs; maps pinned below `base`, a directory on a bpffs, are taken over with what
    /// they hold if their sizes still fit, else made anew.
    ///
    /// # Errors
    ///
    /// Fails where the directory is no bpffs, or the kernel or its verifier refuses something.
    ///
    /// # Minimum kernel version
    ///
    /// 5.18, for XDP programs that accept frames in several buffers.
    pub fn load(base: &Path, limits: Limits) -> Result<Self, DataplaneError> {
        let pins = Pins::new(base);
        bpffs::ensure(base)?;
        pins.create()?;
        let layouts = tables::layouts(limits);
        let paths: Vec<_> = layouts.iter().map(|layout| pins.map(layout.name)).collect();
        let mut loader = EbpfLoader::new();
        for (layout, path) in layouts.iter().zip(&paths) {
            layout.discard_misfit(path)?;
            loader
                .map_max_entries(layout.name, layout.entries)
                .map_pin_path(layout.name, path.as_path());
        }
        loader.map_max_entries(flows::MAP, limits.svcs);
        let mut ebpf = loader.load(OBJECT)?;
        for program in Hook::PROGRAMS {
            load_program(&mut ebpf, program)?;
        }
        let log = EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| warn!(%error, "the eBPF programs' log cannot be read"))
            .ok();
        Ok(Self {
            log,
            ebpf,
            pins,
            // Linux 6.6 and later; asked, not guessed from the version.
            tcx: SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok(),
        })
    }

    /// Opens the maps; once only.
    ///
    /// # Errors
    ///
    /// Fails where the object lacks a map, or it is of another type.
    pub fn tables(&mut self) -> Result<Tables, DataplaneError> {
        Tables::take(&mut self.ebpf)
    }

    /// Hands the programs' own log lines, which are rare, to the `log` crate.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Returns a loaded program, for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// Fails where the object lacks the program.
    pub fn program(&self, name: &'static str) -> Result<&Program, DataplaneError> {
        self.ebpf.program(name).ok_or(DataplaneError::Missing(name))
    }
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), DataplaneError> {
    let program = ebpf
        .program_mut(name)
        .ok_or(DataplaneError::Missing(name))?;
    let failed = |source| DataplaneError::Program {
        program: name,
        source,
    };
    if let Ok(program) = <&mut Xdp>::try_from(&mut *program) {
        return program.load().map_err(failed);
    }
    let program: &mut SchedClassifier = program.try_into().map_err(failed)?;
    program.load().map_err(failed)
}
