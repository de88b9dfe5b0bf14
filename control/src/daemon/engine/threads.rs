//! The engine's two threads, one a direction. Each has one buffer, and lets go of the SAs between two packets.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::Shared;
use crate::{
    esp::{HEADROOM, Refused, TAILROOM},
    kernel::tun::Tun,
};

/// The longest IP packet, in bytes.
const LONGEST: usize = 65_535;

/// Starts a thread, in the network namespace of the calling one.
pub(super) fn spawn(
    name: &str,
    shared: Arc<Shared>,
    body: impl FnOnce(Arc<Shared>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || body(shared))
}

/// Seals what the kernel sends into the device, and hands it to the bundle device; ends when the device is gone.
pub(super) fn outward(shared: &Shared, device: &Tun) -> io::Error {
    let mut buffer = vec![0; HEADROOM + LONGEST + TAILROOM];
    loop {
        match device.read(&mut buffer[HEADROOM..HEADROOM + LONGEST]) {
            Ok(length) => {
                let sealed = shared.outbound().seal(&mut buffer, length);
                let Ok((length, endpoint)) = sealed else {
                    continue;
                };
                if shared.socket.send(&buffer[..length], endpoint).is_err() {
                    shared.outbound().count(Refused::Stuck);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error,
        }
    }
}

/// Opens what comes from links, and hands it to the kernel; never ends.
pub(super) fn inward(shared: &Shared) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok(length) = shared.socket.receive(&mut buffer) else {
            continue;
        };
        let opened = shared.inbound().open(&mut buffer[..length]);
        let Ok(inner) = opened else { continue };
        let device = shared.device();
        let written = device.is_some_and(|device| device.write(&buffer[inner]).is_ok());
        if !written {
            shared.inbound().count(Refused::Stuck);
        }
    }
}
