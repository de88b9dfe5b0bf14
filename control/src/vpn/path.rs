//! What fits through a tunnel.

use withy_common::{header, split::MAX_PIECES};

use super::{Running, overhead};
use crate::{
    config::{Mss, Setting, SplitPolicy},
    link::Links,
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
    /// cut would break more than it mends.
    #[must_use]
    pub fn of(tunnel: &Running, links: &Links) -> Self {
        let mtus = || (0..tunnel.ivcs.len()).map(|index| mtu(tunnel, index, links));
        let narrowest = mtus().min().unwrap_or(ASSUMED_MTU);
        let outer = match tunnel.split {
            SplitPolicy::WholeOnly => narrowest,
            SplitPolicy::Mtu | SplitPolicy::Always => {
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

/// Returns the MTU in bytes of the IVC at `index` of a tunnel.
#[must_use]
pub fn mtu(tunnel: &Running, index: usize, links: &Links) -> u32 {
    let Some(ivc) = tunnel.ivcs.get(index) else {
        return ASSUMED_MTU;
    };
    match ivc.mtu {
        Setting::Fixed(mtu) => mtu.get().into(),
        Setting::Auto => links
            .get(&ivc.link)
            .and_then(|link| link.interface.as_ref())
            .map_or(ASSUMED_MTU, |interface| interface.mtu),
    }
}

/// Returns the longest packet in bytes that can be cut into pieces for links of an MTU.
fn in_pieces(mtu: u32) -> u32 {
    let header = u32::from(header::LEN);
    let pieces = u32::try_from(MAX_PIECES).unwrap_or(1);
    header + pieces * (mtu.saturating_sub(header) & !7)
}
