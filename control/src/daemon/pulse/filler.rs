//! The thread that sends load on purpose.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::debug;
use withy_common::{checksum, header::ESP, keepalive::FILLER, maps::Svc};

use super::now;
use crate::{
    dataplane::{FILLER_ENDPOINT, Meters, Svcs},
    kernel::esp::{BATCH, EspSender},
    load, vpn,
};

/// How long it waits where there is no room for more.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest filler, in bytes with its IP header.
const LONGEST: u16 = 1500;
/// The shortest: it must be longer than a keepalive, which may be as short as an MTU lets it.
const SHORTEST: u16 = 200;

/// Until when filler is to be sent, if it is.
type Order = (Mutex<Option<Duration>>, Condvar);

/// Who has filler sent. The thread ends with the daemon.
pub(super) struct Filler {
    order: Arc<Order>,
}

impl Filler {
    /// Starts the thread, in the network namespace of the calling one; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The machine has no thread left.
    pub(super) fn start(meters: Arc<Meters>, svcs: Svcs) -> io::Result<Self> {
        let order = Arc::<Order>::default();
        let taken = Arc::clone(&order);
        thread::Builder::new()
            .name("filler".to_owned())
            .spawn(move || {
                loop {
                    wait(&taken);
                    if let Err(error) = fill(&taken, &meters, &svcs) {
                        debug!(%error, "no filler");
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            })?;
        Ok(Self { order })
    }

    /// Sends until then, or nothing any more.
    pub(super) fn set(&self, until: Option<Duration>) {
        *lock(&self.order.0) = until;
        if until.is_some() {
            self.order.1.notify_one();
        }
    }
}

fn lock(order: &Mutex<Option<Duration>>) -> MutexGuard<'_, Option<Duration>> {
    order.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until there is something to send.
fn wait(order: &Order) {
    let guard = lock(&order.0);
    let none = |until: &mut Option<Duration>| until.is_none_or(|until| until <= now());
    drop(order.1.wait_while(guard, none));
}

/// Sends as much as the tunnel has room for until there is nothing to send any more.
fn fill(order: &Order, meters: &Meters, svcs: &Svcs) -> io::Result<()> {
    let device = nix::net::if_::if_nametoindex(vpn::bundle_device().name.as_str())?;
    let mut sender = EspSender::open(device)?;
    let noise = noise();
    loop {
        if lock(&order.0).is_none_or(|until| until <= now()) {
            return Ok(());
        }
        let sent = match svcs.filled() {
            Some(svc) => send(&mut sender, &svc, meters, &noise),
            None => 0,
        };
        if sent < BATCH {
            thread::sleep(PAUSE);
        }
    }
}

/// Sends as much as there is room for, at most a batch; returns how many packets. They wait no longer than packets are to, also where these may.
fn send(sender: &mut EspSender, svc: &Svc, meters: &Meters, noise: &[u8]) -> usize {
    let (Some(length), Some(state)) = (length(svc), meters.state(svc.index)) else {
        return 0;
    };
    let now = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
    let room = load::room(svc, state.clocks, now, (length, svc.calm_ns), BATCH);
    let packet = packet(svc.local, length, noise);
    // What is refused is not sent, and there will be room for it again.
    let mut refused = false;
    sender.send(room, |_| &packet, |_| refused = true);
    if refused { 0 } else { room }
}

/// The length of packets that every IVC carries whole.
fn length(svc: &Svc) -> Option<u16> {
    let usable = svc.ivcs.iter().map(|ivc| ivc.mtu).filter(|mtu| *mtu > 0);
    let length = u16::try_from(usable.min()?).unwrap_or(LONGEST).min(LONGEST);
    (length >= SHORTEST).then_some(length)
}

/// What is behind the headers of filler: what the way compresses would not be what it carries.
fn noise() -> [u8; LONGEST as usize] {
    let mut noise = [0; LONGEST as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

/// A filler from a local endpoint, in wire order.
fn packet(local: u32, length: u16, noise: &[u8]) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, ESP, 0, 0];
    packet.extend(local.to_ne_bytes());
    packet.extend(FILLER_ENDPOINT.octets());
    let sum = !checksum::fold(checksum::sum_bytes(&packet));
    packet[10..12].copy_from_slice(&sum.to_ne_bytes());
    packet.extend(FILLER.to_be_bytes());
    let rest = usize::from(length).saturating_sub(packet.len());
    packet.extend(noise.iter().take(rest));
    packet
}

#[cfg(test)]
mod tests {
    use withy_common::maps::{Ivc, MAX_IVCS, Split};

    use super::*;

    #[test]
    fn filler_is_a_legal_packet_of_its_length() {
        let packet = packet(u32::from_ne_bytes([10, 255, 0, 1]), 1492, &noise());
        assert_eq!(packet.len(), 1492);
        assert_eq!(checksum::fold(checksum::sum_bytes(&packet[..20])), 0xffff);
        assert_eq!(packet[12..24], [10, 255, 0, 1, 0, 0, 0, 87, 0, 0, 0, 0x58]);
        assert!(packet[24..].windows(4).all(|bytes| bytes != [0; 4]));
    }

    #[test]
    fn filler_fits_every_ivc_whole() {
        let svc = |mtus: &[u32]| {
            let mut ivcs = [Ivc::default(); MAX_IVCS];
            for (ivc, mtu) in ivcs.iter_mut().zip(mtus) {
                ivc.mtu = *mtu;
            }
            Svc::new(1, 0, Split::Mtu, 0, ivcs)
        };
        assert_eq!(length(&svc(&[0, 1492, 9000])), Some(1492));
        assert_eq!(length(&svc(&[9000])), Some(1500));
        assert_eq!(length(&svc(&[])), None);
    }
}
