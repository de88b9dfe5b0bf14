//! What the gateway answers who asks.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::mpsc;

use super::{
    super::{negotiation::Negotiation, paths, ping, pulse, speed},
    Gateway, now,
};
use crate::{
    api::{keys, ping::PingedIvc, protocol::Response, report, speed::Direction},
    bundle::IvcId,
    load::Target,
};

impl Gateway {
    /// Tells how everything is.
    pub(in crate::daemon) fn status(&self, negotiation: &Negotiation) -> Response {
        let view = report::View {
            config: &self.working,
            running: &self.running,
            links: &self.links,
            since: &self.since,
            receive: &self.receive,
            tables: &self.tables,
            silent: &self.probing.mute(&self.running, &self.impaired),
            remote_links: &self.remote_links,
            reports: &self.probing.reports(&self.running),
            estimates: &self.probing.estimates(),
            splittings: &self.probing.splittings(),
            recent: &self
                .recent
                .carried(pulse::now(), &self.bytes())
                .unwrap_or_default(),
            rejected: self.probing.rejected(),
            engine: &self.engine.report(),
            started: self.started,
            now: now(),
            problems: self.problems.list(),
            refused: negotiation.refused(),
            troubles: negotiation.troubles(),
        };
        match report::status(&view, &self.slots) {
            Ok(status) => Response::Status(Box::new(status)),
            Err(error) => Response::Failed(error.to_string()),
        }
    }

    /// Pings the IVCs of a tunnel, or those of one link.
    ///
    /// # Errors
    ///
    /// There are none, or it is to be done too often or too seldom.
    pub(in crate::daemon) fn ping(
        &self,
        tunnel: &str,
        link: Option<&str>,
        count: Option<u32>,
        interval: Duration,
    ) -> Result<mpsc::Receiver<Response>, String> {
        let ivcs = self.paths(tunnel, link)?;
        ping::start(self.probing.pinger(), ivcs, count, interval)
    }

    /// Loads a tunnel, or each IVC of a link alone, to see what it carries.
    ///
    /// # Errors
    ///
    /// There is none, or it is to take too long.
    pub(in crate::daemon) fn speedtest(
        &self,
        (tunnel, link): (&str, Option<&str>),
        directions: &[Direction],
        seconds: u16,
    ) -> Result<mpsc::Receiver<Response>, String> {
        let ivcs = self.paths(tunnel, link)?;
        let target = |id: &IvcId, only| Target { tunnel: id.0, only };
        let parts = if let (None, Some((id, _))) = (link, ivcs.first()) {
            vec![(target(id, None), ivcs)]
        } else {
            let ivcs = ivcs.into_iter();
            ivcs.map(|(id, shown)| (target(&id, Some([id.clone()].into())), vec![(id, shown)]))
                .collect()
        };
        let plan = speed::Plan {
            parts,
            directions: directions.to_vec(),
            seconds,
        };
        speed::start(self.probing.pinger(), plan)
    }

    /// The IVCs of a tunnel, or those of one link, and how they are shown.
    fn paths(&self, tunnel: &str, link: Option<&str>) -> Result<Vec<(IvcId, PingedIvc)>, String> {
        let ivcs = paths::of(&self.config, &self.running, tunnel, link)?;
        let ivcs = ivcs.into_iter().map(|(id, ivc)| {
            let shown = PingedIvc {
                link: ivc.link.to_string(),
                remote: ivc.remote,
                remote_link: self.remote_links.get(&id).cloned(),
            };
            (id, shown)
        });
        Ok(ivcs.collect())
    }

    /// Hands out the keys of all security associations.
    pub(in crate::daemon) fn keys(&self) -> Response {
        Response::Keys(keys::of(&self.running))
    }

    /// Tells which security associations there are.
    pub(in crate::daemon) async fn associations(&self) -> Response {
        if !self.engine.is_kernel() {
            let usage = |direction, _, spi| self.engine.usage(direction, spi);
            return Response::Associations(report::associations(&self.running, usage));
        }
        match self.netlink().associations().await {
            Ok(seen) => {
                let seen: BTreeMap<_, _> = seen.into_iter().collect();
                let usage = |_, destination, spi| Some(seen.get(&(destination, spi))?.usage);
                Response::Associations(report::associations(&self.running, usage))
            }
            Err(error) => Response::Failed(error.to_string()),
        }
    }
}
