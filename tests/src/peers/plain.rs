//! Routing without a tunnel: the ceiling, and the best that one link alone can do.

use anyhow::{Context, Result};

use super::{Running, System, between_hosts, wait_for_path};
use crate::{
    lab::{Lab, PlainRouting},
    traffic::bulk::Flow,
};

/// LAN to LAN in cleartext over the fastest link.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

struct Up<'lab> {
    lab: &'lab Lab,
    _routing: PlainRouting,
}

impl System for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn about(&self) -> &'static str {
        "plain routing over the fastest link, nothing encrypted"
    }

    fn absent(&self) -> Option<String> {
        None
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        let links = lab.site("a")?.links().iter();
        // Of several that are equal, the first.
        let fastest = links.rev().max_by_key(|link| link.shapes().0.rate_bps);
        let name = fastest.context("the lab has no links")?.name();
        let routing = lab.plainly_over(("a", name), ("b", name))?;
        wait_for_path(lab, || Ok(()))?;
        Ok(Box::new(Up {
            lab,
            _routing: routing,
        }))
    }
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }
}
