//! What fits through a tunnel.

use withy_common::{header, split::MAX_PIECES};

use super::{IvcMtu, Running, RunningIvc, overhead};
use crate::{
    config::{Mss, SplitPolicy},
    link::Links,
    liveness::BASE_MTU,
};

/// The longest ESP packet in bytes that the bundle device takes: enough for jumbo frames of the
/// private network.
pub(super) const BUNDLE_MTU: u32 = 9216;
/// The MTU in bytes of a link whose interface is missing, until it is back.
pub(crate) const ASSUMED_MTU: u32 = 1500;
/// What the outbound SA's UDP header adds, in bytes, before `bundle_tx` takes it out again.
pub(super) const SHIM: u32 = header::UDP_LEN as u32;

/// The sizes of a tunnel, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The longest ESP packet that the tunnel carries, whole or in pieces.
    pub outer: u32,
    /// The longest packet that hosts may send through it.
    pub inner: u32,
    /// What TCP's MSS is clamped to.
    pub mss: Option<u16>,
}

impl Path {
    /// Computes the sizes of a tunnel over links as they are now.
    ///
    /// All IVCs count, also those that are unusable at the moment: a path MTU that changes with every
    /// cut would break more than it mends. Only those whose MTU was never found do not, as long as there are others.
    #[must_use]
    pub fn of(tunnel: &Running, links: &Links) -> Self {
        let mut known: Vec<_> = tunnel.ivcs.iter().filter(|ivc| ivc.is_known()).collect();
        if known.is_empty() {
            known = tunnel.ivcs.iter().collect();
        }
        let mtus = || known.iter().map(|ivc| mtu(ivc, links));
        let narrowest = mtus().min().unwrap_or(ASSUMED_MTU);
        let outer = match tunnel.split {
            SplitPolicy::WholeOnly => narrowest,
            SplitPolicy::Auto | SplitPolicy::Mtu | SplitPolicy::Always => {
                in_pieces(mtus().max().unwrap_or(ASSUMED_MTU)).min(BUNDLE_MTU)
            }
        };
        let whole = overhead::segment(overhead::inner(tunnel.suite, narrowest));
        Self {
            outer,
            inner: overhead::inner(tunnel.suite, outer),
            mss: match tunnel.mss {
                Mss::Off => None,
                Mss::Auto => Some(whole),
                Mss::Bytes(mss) => Some(mss),
            },
        }
    }
}

/// Returns the MTU in bytes to use on an IVC.
#[must_use]
pub fn mtu(ivc: &RunningIvc, links: &Links) -> u32 {
    match ivc.mtu {
        IvcMtu::Fixed(mtu) => mtu.get().into(),
        IvcMtu::Probed { found, .. } => most(ivc, links).min(found.unwrap_or(BASE_MTU).into()),
    }
}

/// Returns the most that an IVC's path may carry, in bytes, as far as the links at its ends tell.
#[must_use]
pub fn most(ivc: &RunningIvc, links: &Links) -> u32 {
    let there = match ivc.mtu {
        IvcMtu::Fixed(mtu) => return mtu.get().into(),
        IvcMtu::Probed { there, .. } => there.map_or(BUNDLE_MTU, |there| there.get().into()),
    };
    links
        .get(&ivc.link)
        .and_then(|link| link.interface.as_ref())
        .map_or(ASSUMED_MTU, |interface| interface.mtu)
        .min(there)
}

impl RunningIvc {
    /// Whether its MTU is more than assumed.
    fn is_known(&self) -> bool {
        !matches!(self.mtu, IvcMtu::Probed { found: None, .. })
    }
}

/// Returns the longest packet in bytes that can be cut into pieces for links of an MTU.
fn in_pieces(mtu: u32) -> u32 {
    let header = u32::from(header::LEN);
    let pieces = u32::try_from(MAX_PIECES).unwrap_or(1);
    header + pieces * (mtu.saturating_sub(header) & !7)
}
