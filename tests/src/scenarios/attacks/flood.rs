//! Connections from many addresses that say nothing, or nothing sensible.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::{sleep, timeout},
};
use withy::config::PeerAddress;

use super::{
    Gateway, Ipsec, Lab, PATIENCE, Stage, Witness, begin, insider::runtime, is_complete, launch,
    negotiated_config, refused, rehearse, site, spec, wait_status, wait_until,
};
use crate::{netns::joined, scenarios::stage};

/// Where the flood comes from (RFC 2544).
const PREFIX: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 24);
/// How many connections an address has: as many as it may.
const CONNECTIONS: usize = 8;
/// The time between the first connections, so that they do not all come at once.
const STAGGER: Duration = Duration::from_millis(5);
/// How long a connection is held.
const HELD: Duration = Duration::from_secs(10);

/// How much of a flood there is. In any case it takes more places than there are.
#[derive(Clone, Copy)]
struct Force {
    addresses: u8,
    /// How long a part of it waits before it connects again.
    pause: Duration,
}

impl Force {
    /// On an emulated machine, which also carries data, every connection costs a thousand times as much.
    fn of(ipsec: Ipsec) -> Self {
        match ipsec {
            Ipsec::Missing => Self {
                addresses: 64,
                pause: Duration::from_secs(1),
            },
            Ipsec::Kernel => Self {
                addresses: 36,
                pause: Duration::from_secs(6),
            },
        }
    }
}

pub(super) fn play(ipsec: Ipsec) -> Result<()> {
    let lab = Lab::routed(&[site("a", 2), site("b", 2), site("c", 1), site("d", 2)]);
    rehearse(lab, &spec(), |stage| {
        negotiated_config::write(&stage.spec, stage.lab, &["a", "d"], "b")?;
        begin(stage, 2)?;
        let witness = Witness::start(stage)?;
        let flood = Flood::start(stage, Force::of(ipsec))?;
        let outcome = come_through(stage);
        let opened = flood.stop()?;
        let counts = ["half_open", "timeout", "tls", "rate"]
            .map(|reason| Ok(format!("{reason} {}", refused(&stage.b, reason)?)))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        println!(
            "    {opened} connections opened; refused: {}",
            counts.join(", ")
        );
        // Who floods shares the processors with the kernels that carry the witness's few thousand datagrams.
        witness.finish_but_for(2, stage, "a flood")?;
        outcome
    })
}

/// A site that has never been heard of opens its tunnel through the flood.
fn come_through(stage: &Stage<'_>) -> Result<()> {
    wait_until(PATIENCE, "the flood to be refused", || {
        // On a slow machine the silent run out of time before their places are needed.
        Ok(refused(&stage.b, "half_open")? + refused(&stage.b, "timeout")? > 30)
    })?;
    let mut newcomer = Gateway::new(stage.lab, "d", &stage::program()?)?;
    let began = Instant::now();
    launch(&mut newcomer)?;
    let through = wait_status(&newcomer, PATIENCE, "a newcomer's IVCs", |status| {
        is_complete(status, 2)
    });
    if through.is_err() {
        eprintln!("--- log of the newcomer ---\n{}", newcomer.log()?);
    }
    through?;
    println!(
        "    a newcomer has all IVCs {:.1?} after its program's start",
        began.elapsed()
    );
    Ok(())
}

struct Flood {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Flood {
    fn start(stage: &Stage<'_>, force: Force) -> Result<Self> {
        let site = stage.lab.site("c")?;
        stage.lab.announce(("c", "wan0"), PREFIX)?;
        let addresses: Vec<_> = (1..=force.addresses)
            .map(|last| Ipv4Addr::new(198, 18, 0, last))
            .collect();
        for address in &addresses {
            site.gateway().add_address("lo", *address, 32)?;
        }
        let target = SocketAddrV4::new(
            stage.lab.site("b")?.link("wan0")?.address(),
            PeerAddress::DEFAULT_PORT,
        );
        let (stop, opened) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ending, counter) = (Arc::clone(&stop), Arc::clone(&opened));
        let thread = site.gateway().spawn("flood", move || {
            runtime()?.block_on(async {
                for address in addresses {
                    for number in 0..CONNECTIONS {
                        // Every eighth connection talks nonsense; the others say nothing.
                        let words: &[u8] = match number {
                            0 => b"GET / HTTP/1.1\r\n\r\n",
                            _ => &[],
                        };
                        let part = Part {
                            source: address,
                            target,
                            words,
                            pause: force.pause,
                            opened: Arc::clone(&counter),
                        };
                        tokio::spawn(part.keep_connecting());
                        sleep(STAGGER).await;
                    }
                }
                while !ending.load(Ordering::Acquire) {
                    sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            })
        })?;
        Ok(Self {
            stop,
            opened,
            thread,
        })
    }

    /// Returns how many connections were opened.
    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        joined(self.thread.join()).context("the flood")?;
        let opened = self.opened.load(Ordering::Relaxed);
        ensure!(opened > 256, "that was no flood: {opened} connections");
        Ok(opened)
    }
}

/// What connects again and again from one address.
struct Part {
    source: Ipv4Addr,
    target: SocketAddrV4,
    words: &'static [u8],
    pause: Duration,
    opened: Arc<AtomicU64>,
}

impl Part {
    async fn keep_connecting(self) {
        loop {
            if let Ok(socket) = TcpSocket::new_v4()
                && socket
                    .bind(SocketAddrV4::new(self.source, 0).into())
                    .is_ok()
                && let Ok(mut stream) = socket.connect(self.target.into()).await
            {
                self.opened.fetch_add(1, Ordering::Relaxed);
                let mut answer = Vec::new();
                // Whatever happens to it is the responder's affair.
                let _ = stream.write_all(self.words).await;
                let _ = timeout(HELD, stream.read_to_end(&mut answer)).await;
            }
            sleep(self.pause).await;
        }
    }
}
