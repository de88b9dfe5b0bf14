//! Whether this process can show everything on the kernel at hand.

use std::{fs::OpenOptions, net::Ipv4Addr};

use anyhow::{Context, Result, ensure};
use aya::{programs::ProgramType, sys::is_program_supported};
use withy::{
    kernel::netlink::Netlink,
    reconcile::objects::{
        Direction, EspKey, Inbound, Position, ReplayWindow, ReqId, SecurityAssociation, Spi, Suite,
    },
};

use crate::netns::Netns;

/// What Withy's own ESP engine works with.
const TUN: &str = "/dev/net/tun";

/// Fails, saying why, unless this process may make network namespaces and load eBPF programs, and
/// there is ESP: the kernel's, or what Withy's own takes. It tries them in a namespace of its own.
pub fn probe() -> Result<()> {
    let netns = Netns::new("probe")?;
    let programs = is_program_supported(ProgramType::SchedClassifier);
    ensure!(
        programs.context("eBPF programs cannot be loaded")?,
        "the kernel has no eBPF programs for interfaces"
    );
    let Err(no_esp) = netns.enter(esp) else {
        return Ok(());
    };
    let tun = OpenOptions::new().read(true).write(true).open(TUN);
    tun.with_context(|| format!("the kernel's ESP does not work ({no_esp:#}), nor does {TUN}"))?;
    Ok(())
}

/// Tries the kernel's ESP. Which engine the gateways take they find out themselves.
fn esp() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let netlink = Netlink::open()?;
        let association = association()?;
        Ok(netlink
            .add_association(&association, Position::default())
            .await?)
    })
}

/// One as the gateways make them.
fn association() -> Result<SecurityAssociation> {
    let suite = Suite::AesGcm128;
    Ok(SecurityAssociation {
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: Ipv4Addr::new(192, 0, 2, 2),
        spi: Spi::new(0x1001)?,
        reqid: ReqId(1),
        key: EspKey::new(suite, vec![7; suite.material_len()])?,
        direction: Direction::In(Inbound {
            replay_window: ReplayWindow::MAX,
        }),
    })
}
