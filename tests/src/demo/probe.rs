//! Whether this process can show everything on the kernel at hand.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use withy::{
    kernel::netlink::Netlink,
    reconcile::objects::{
        Direction, EspKey, Inbound, Position, ReplayWindow, ReqId, SecurityAssociation, Spi, Suite,
    },
};

use crate::{netns::Netns, shape::port::Emulation};

/// Fails, saying why, unless this process may make network namespaces, and the kernel has ESP and
/// netem. It tries them in a namespace of its own.
pub fn probe() -> Result<()> {
    if Emulation::probe()? != Emulation::Netem {
        bail!("this kernel has no netem");
    }
    let netns = Netns::new("probe")?;
    netns
        .enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(async {
                let netlink = Netlink::open()?;
                Ok(netlink
                    .add_association(&association()?, Position::default())
                    .await?)
            })
        })
        .context("this kernel has no ESP, or not with AES-GCM")
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
