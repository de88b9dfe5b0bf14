//! Who has no key that anyone knows.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use withy::config::PeerAddress;

use super::{
    Ipsec, Lab, PATIENCE, Site, Stage, Witness, begin, launch, launch_and_wait, negotiated_config,
    refused, rehearse, site, spec, status, wait_until,
};
use crate::{
    capture::{CapturePlan, Segment, Tally},
    scenarios::stage::PING_LIMIT,
    traffic::icmp::{Ping, ping},
};

/// More frames than a link carries while a tunnel is made.
const FRAMES: usize = 10_000;
/// After this time the responder has ended whatever it does not like.
const HANGS: Duration = Duration::from_secs(15);

pub(super) fn wrong_key(ipsec: Ipsec) -> Result<()> {
    rehearse(
        Lab::routed(&[site("a", 1), site("b", 1)]),
        &spec(),
        |stage| {
            stage.configure()?;
            // The responder has read its configuration; now the initiator turns out to be another.
            launch_and_wait(&mut stage.b)?;
            negotiated_config::forget_key(stage.a.site())?;
            stage.configure()?;
            launch(&mut stage.a)?;
            wait_until(PATIENCE, "a refusal", || {
                Ok(refused(&stage.b, "unknown_key")? > 0)
            })?;
            let tunnels = status(&stage.b)?.tunnels;
            ensure!(
                tunnels.iter().all(|tunnel| tunnel.ivcs.is_empty()),
                "{tunnels:?}"
            );
            if ipsec == Ipsec::Missing {
                return Ok(());
            }
            let (here, there) = stage.hosts("a")?;
            let answer = ping(here.host(), there.lan().host, 56, true, PING_LIMIT)?;
            ensure!(
                !matches!(answer, Ping::Reply { .. }),
                "a stranger gets through"
            );
            Ok(())
        },
    )
}

pub(super) fn play(_: Ipsec) -> Result<()> {
    let lab = Lab::routed(&[site("a", 2), site("b", 2), site("c", 1)]);
    rehearse(lab, &spec(), |stage| {
        stage.configure()?;
        let recorded = record(stage)?;
        println!(
            "    {} bytes of a genuine connection recorded",
            recorded.len()
        );
        let witness = Witness::start(stage)?;
        let cases = [
            ("a recorded connection", recorded),
            ("TLS 1.2", hello_of_tls12()),
            ("no hybrid key exchange", classical_hello()),
            ("no TLS", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ];
        for (what, bytes) in cases {
            let before = refused(&stage.b, "tls")?;
            say(stage.lab.site("c")?, target(stage)?, &bytes).context(what)?;
            wait_until(PATIENCE, what, || {
                Ok(refused(&stage.b, "tls")? == before + 1)
            })?;
        }
        witness.finish(stage, "strangers at work")
    })
}

fn target(stage: &Stage<'_>) -> Result<SocketAddrV4> {
    let address = stage.lab.site("b")?.link("wan0")?.address();
    Ok(SocketAddrV4::new(address, PeerAddress::DEFAULT_PORT))
}

/// Starts the gateways; returns all that the initiator says on its first connection, as its provider sees it.
fn record(stage: &mut Stage<'_>) -> Result<Vec<u8>> {
    let (provider, device) = stage.lab.site("a")?.link("wan0")?.provider();
    let capture = CapturePlan::new().keep(FRAMES).start(provider, device)?;
    begin(stage, 2)?;
    let target = target(stage)?;
    flow(&capture.finish()?, target).context("no connection was seen")
}

/// The bytes of the first flow to an address, in order.
fn flow(tally: &Tally, target: SocketAddrV4) -> Option<Vec<u8>> {
    let segments = || {
        let frames = tally.kept.iter();
        frames.filter_map(|frame| Segment::read(&frame.bytes))
    };
    let first = segments().find(|segment| segment.syn && segment.destination == target)?;
    let parts: BTreeMap<u32, Vec<u8>> = segments()
        .filter(|segment| (segment.source, segment.destination) == (first.source, target))
        .filter(|segment| !segment.payload.is_empty())
        .map(|segment| (segment.sequence.wrapping_sub(first.next), segment.payload))
        .collect();
    Some(parts.into_values().flatten().collect())
}

/// Says something to the responder, and waits until that has closed the connection.
fn say(from: &Site, target: SocketAddrV4, bytes: &[u8]) -> Result<()> {
    from.gateway().enter(|| {
        let mut stream = TcpStream::connect(target)?;
        stream.set_read_timeout(Some(HANGS))?;
        // It may be refused before all is said.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(error).context("the connection is not closed")
            }
            _ => Ok(()),
        }
    })
}

/// A `ClientHello` (RFC 8446, section 4.1.2) in a record.
fn client_hello(extensions: &[u8]) -> Vec<u8> {
    let length = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut hello = vec![3, 3];
    hello.extend([0x42; 32]);
    // No session; TLS_AES_128_GCM_SHA256 and ECDHE_ECDSA_AES128_GCM_SHA256; no compression.
    hello.extend([0, 0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0]);
    hello.extend(length(extensions.len()));
    hello.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(length(hello.len() + 4));
    record.extend([1, 0]);
    record.extend(length(hello.len()));
    record.extend(hello);
    record
}

/// The schemes of signatures: Ed25519.
const SIGNATURES: [u8; 8] = [0, 13, 0, 4, 0, 2, 8, 7];

/// What a client says that speaks nothing newer than TLS 1.2.
fn hello_of_tls12() -> Vec<u8> {
    // With the extended master secret.
    client_hello(&[&SIGNATURES[..], &[0, 23, 0, 0]].concat())
}

/// What a client of TLS 1.3 says that has no other key exchange than X25519.
fn classical_hello() -> Vec<u8> {
    let versions = [0, 43, 0, 3, 2, 3, 4];
    let groups = [0, 10, 0, 4, 0, 2, 0, 29];
    let share = [&[0, 51, 0, 38, 0, 36, 0, 29, 0, 32][..], &[9; 32]].concat();
    client_hello(&[&SIGNATURES[..], &versions, &groups, &share].concat())
}
