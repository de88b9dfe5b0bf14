//! Programs and maps for one test.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use aya::programs::{Program, SchedClassifier, TestRun, TestRunOptions, Xdp};
use withy::dataplane::{Dataplane, Limits, Tables, wire};
use withy_common::maps::{Ivc, IvcKey, IvcRx, MAX_IVCS, Split, Svc};

/// The local and the remote tunnel endpoint.
pub(crate) const ENDPOINTS: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(10, 255, 0, 1), Ipv4Addr::new(10, 255, 0, 2));
/// The verdicts of TC programs.
pub(crate) const NEXT: u32 = u32::MAX;
pub(crate) const SHOT: u32 = 2;
pub(crate) const REDIRECT: u32 = 7;

/// Loaded programs on maps of their own.
pub(crate) struct Rig {
    pub(crate) dataplane: Dataplane,
    pub(crate) tables: Tables,
    base: PathBuf,
}

/// What a program did with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: u32,
    pub(crate) packet: Vec<u8>,
    /// When a packet of a TC program is to leave, by the monotonic clock in nanoseconds; 0 for at once.
    pub(crate) departure: u64,
}

/// The length of `__sk_buff`, the context of TC programs, and the place of its `tstamp` (`linux/bpf.h`).
const CONTEXT: usize = 192;
const TSTAMP: usize = 152;

/// Returns the address of local link `slot`.
pub(crate) fn local(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, slot + 1)
}

/// Returns the address of remote link `slot`.
pub(crate) fn remote(slot: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, slot + 1)
}

impl Rig {
    /// Loads the programs and states a tunnel over `links`, given by (bits per second, latency in ms).
    pub(crate) fn new(links: &[(u64, u64)], split: Split) -> Self {
        Self::with_mtu(links, split, 1500)
    }

    /// The same over links of an MTU.
    pub(crate) fn with_mtu(links: &[(u64, u64)], split: Split, mtu: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = PathBuf::from(format!(
            "/sys/fs/bpf/withy-test-{}-{number}",
            std::process::id()
        ));
        let mut dataplane = Dataplane::load(&base, Limits { svcs: 16, ivcs: 64 }).unwrap();
        let mut tables = dataplane.tables().unwrap();
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        let mut arriving = Vec::new();
        for (slot, (rate, latency)) in (0_u8..).zip(links) {
            let (byte_time, rate) = Ivc::pace(*rate);
            ivcs[usize::from(slot)] = Ivc {
                local: wire(local(slot)),
                remote: wire(remote(slot)),
                ifindex: 1,
                next_hop: wire(remote(slot)),
                counters: u32::from(slot),
                mtu,
                overhead: 14,
                unused: 0,
                byte_time,
                rate,
                latency_ns: latency * 1_000_000,
                shift_ns: 0,
                share: byte_time,
                alone_ns: 0,
                most_ns: 0,
                spacing: 0,
            };
            let key = IvcKey {
                source: wire(remote(slot)),
                destination: wire(local(slot)),
            };
            let value = IvcRx {
                source: wire(ENDPOINTS.1),
                destination: wire(ENDPOINTS.0),
                counters: u32::from(slot),
                slot: u32::from(slot),
            };
            arriving.push((key, value));
        }
        let slowest = ivcs.iter().map(|ivc| ivc.latency_ns).max().unwrap();
        let svc = Svc::new(wire(ENDPOINTS.0), 3, split, slowest + 100_000_000, ivcs);
        tables.set_svcs(&[(ENDPOINTS.1, svc)]).unwrap();
        tables.set_ivcs(&arriving).unwrap();
        Self {
            dataplane,
            tables,
            base,
        }
    }

    /// The folder of the pins.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// Lets all IVCs leave through the interface `ifindex`, to `next_hop`.
    pub(crate) fn lead_to(&mut self, ifindex: u32, next_hop: Ipv4Addr) {
        self.change(|svc| {
            for ivc in &mut svc.ivcs {
                (ivc.ifindex, ivc.next_hop) = (ifindex, wire(next_hop));
            }
        });
    }

    /// Changes the tunnel.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Svc)) {
        let mut svcs = self.tables.svcs().unwrap();
        change(&mut svcs[0].1);
        self.tables.set_svcs(&svcs).unwrap();
    }

    /// Runs a program on a packet.
    pub(crate) fn run(&self, program: &'static str, packet: &[u8]) -> Outcome {
        let (mut out, mut context) = (vec![0; 16_384], [0; CONTEXT]);
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut out);
        let program = self.dataplane.program(program).unwrap();
        let result = match program {
            Program::Xdp(program) => <Xdp as TestRun>::test_run(program, options),
            Program::SchedClassifier(program) => {
                options.ctx_out = Some(&mut context);
                <SchedClassifier as TestRun>::test_run(program, options)
            }
            other => panic!("{other:?} cannot be run on a packet"),
        }
        .unwrap();
        out.truncate(result.data_size_out as usize);
        let tstamp = context[TSTAMP..].first_chunk().unwrap();
        Outcome {
            verdict: result.return_value,
            packet: out,
            departure: u64::from_ne_bytes(*tstamp),
        }
    }

    /// Returns how often packets were dropped for `reason`.
    pub(crate) fn drops(&self, reason: &str) -> u64 {
        let drops = self.tables.drops().unwrap();
        drops.iter().find(|(label, _)| *label == reason).unwrap().1
    }

    /// Returns the drops of all reasons together.
    pub(crate) fn all_drops(&self) -> u64 {
        self.tables
            .drops()
            .unwrap()
            .iter()
            .map(|(_, count)| count)
            .sum()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}
