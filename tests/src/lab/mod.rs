//! Sites, their links and the Internet between them.
//!
//! ```no_run
//! use std::time::Duration;
//! use withy_tests::{lab::{Lab, LinkSpec}, shape::Shape};
//!
//! # fn main() -> anyhow::Result<()> {
//! let shape = Shape::new(2_000_000, Duration::from_millis(10));
//! let lab = Lab::paired(&[LinkSpec::new("wan0", shape), LinkSpec::new("wan1", shape)]).build()?;
//! let (a, b) = (lab.site("a")?, lab.site("b")?);
//! a.link("wan0")?.cut()?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing of a lab has a name outside it: namespaces are held by descriptor, files are in a mount
//! namespace, children die with the lab's thread. A lab that is killed leaves nothing behind but
//! the empty directory that its files were mounted on.

pub mod addressing;
mod events;
pub(crate) mod home;
mod internet;
mod link;
mod plain;
mod site;
mod spawner;

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command},
};

use anyhow::{Context, Result, ensure};

use self::{
    events::Events,
    home::Home,
    internet::{Backbone, Ground},
    spawner::Spawner,
};
pub use self::{
    events::{Event, Happening},
    home::GatewayDirs,
    link::{Link, LinkSpec},
    plain::PlainRouting,
    site::{HOST_DEVICE, LAN_DEVICE, Site, SiteSpec},
};
use crate::{
    netns::{Netns, Route},
    shape::{
        emulator::{Conduct, Emulator},
        port::{Emulation, Means},
    },
};

/// The two forms of the Internet.
enum Form {
    /// Link K of site `a` leads to link K of site `b` and nowhere else.
    Paired(Vec<LinkSpec>),
    /// Every link has a provider, and any link reaches any other.
    Routed(Vec<SiteSpec>),
}

impl Form {
    /// Whether a link follows a recording, as netem cannot.
    fn has_recordings(&self) -> bool {
        let recorded = |link: &LinkSpec| link.up.trace.or(link.down.trace).is_some();
        match self {
            Self::Paired(links) => links.iter().any(recorded),
            Self::Routed(sites) => sites.iter().flat_map(|site| &site.links).any(recorded),
        }
    }
}

/// A lab before it exists.
pub struct LabBuilder {
    form: Form,
    emulation: Option<Emulation>,
    seed: u64,
}

impl LabBuilder {
    /// Chooses who emulates the links; by default netem where the kernel has it and no link follows
    /// a recording.
    #[must_use]
    pub fn emulation(mut self, emulation: Emulation) -> Self {
        self.emulation = Some(emulation);
        self
    }

    /// Chooses the random numbers for loss and jitter.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes the lab.
    ///
    /// It moves the calling thread into a mount namespace of its own. The lab's files are seen by
    /// this thread and by those started from it later, and by no other.
    pub fn build(self) -> Result<Lab> {
        let home = Home::new()?;
        let emulation = match self.emulation {
            Some(emulation) => emulation,
            None if self.form.has_recordings() => Emulation::Userspace,
            None => Emulation::probe()?,
        };
        let means = match emulation {
            Emulation::Netem => Means::Netem,
            Emulation::Userspace => Means::Userspace(Emulator::start()?),
            Emulation::Unlimited => Means::Unlimited,
        };
        let events = Events::default();
        let ground = Ground {
            means: means.clone(),
            seed: self.seed,
            events: events.clone(),
        };
        let site = |(number, name): (usize, &str)| Site::create(name, number, home.gateway(name)?);
        let (sites, backbone) = match &self.form {
            Form::Paired(specs) => {
                let mut sites = [site((0, "a"))?, site((1, "b"))?];
                internet::paired(&ground, &mut sites, specs)?;
                (Vec::from(sites), None)
            }
            Form::Routed(specs) => {
                let names = specs.iter().map(|spec| spec.name.as_str());
                let mut sites = names.enumerate().map(site).collect::<Result<Vec<_>>>()?;
                let backbone = internet::routed(&ground, &mut sites, specs)?;
                (sites, Some(backbone))
            }
        };
        Ok(Lab {
            spawner: Spawner::start()?,
            sites,
            backbone,
            means,
            events,
            _home: home,
        })
    }
}

/// A running lab. Dropping it takes everything down.
pub struct Lab {
    spawner: Spawner,
    sites: Vec<Site>,
    backbone: Option<Backbone>,
    means: Means,
    events: Events,
    _home: Home,
}

impl Lab {
    /// Plans two sites, `a` and `b`, whose links lead to each other in pairs. A link's `up` shape
    /// holds from `a` to `b`, its `down` shape from `b` to `a`.
    #[must_use]
    pub fn paired(links: &[LinkSpec]) -> LabBuilder {
        LabBuilder {
            form: Form::Paired(links.to_vec()),
            emulation: None,
            seed: 0,
        }
    }

    /// Plans an Internet of providers and a backbone. A packet from one site to another takes the
    /// `up` shape of the link that it leaves by and then the `down` shape of the one that it
    /// arrives by.
    #[must_use]
    pub fn routed(sites: &[SiteSpec]) -> LabBuilder {
        LabBuilder {
            form: Form::Routed(sites.to_vec()),
            emulation: None,
            seed: 0,
        }
    }

    /// All sites, in the order given.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The site of that name.
    pub fn site(&self, name: &str) -> Result<&Site> {
        let number = self.site_number(name)?;
        Ok(&self.sites[number])
    }

    fn site_number(&self, name: &str) -> Result<usize> {
        self.sites
            .iter()
            .position(|site| site.name() == name)
            .with_context(|| format!("the lab has no site {name}"))
    }

    /// Who emulates the links.
    #[must_use]
    pub fn emulation(&self) -> Emulation {
        match self.means {
            Means::Netem => Emulation::Netem,
            Means::Userspace(_) => Emulation::Userspace,
            Means::Unlimited => Emulation::Unlimited,
        }
    }

    /// How the lab's own emulator has kept its times so far; none if it is not in use. Benches that
    /// print it show whether the links were what they claim to be.
    pub fn conduct(&self) -> Result<Option<Conduct>> {
        match &self.means {
            Means::Netem | Means::Unlimited => Ok(None),
            Means::Userspace(emulator) => emulator.conduct().map(Some),
        }
    }

    /// What has been done to links so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.all()
    }

    /// Routes the private networks of two sites to each other in cleartext over one link each,
    /// given as site and link names, until the result is dropped. In a paired Internet both links
    /// must have the same name.
    pub fn plainly_over(&self, here: (&str, &str), there: (&str, &str)) -> Result<PlainRouting> {
        let paired = self.backbone.is_none();
        ensure!(
            !paired || here.1 == there.1,
            "{} and {} are no pair",
            here.1,
            there.1
        );
        PlainRouting::new(self, [self.place(here)?, self.place(there)?])
    }

    fn place(&self, (site, link): (&str, &str)) -> Result<(usize, usize)> {
        let number = self.site_number(site)?;
        let links = self.sites[number].links();
        let link = links
            .iter()
            .position(|candidate| candidate.name() == link)
            .with_context(|| format!("site {site} has no link {link}"))?;
        Ok((number, link))
    }

    /// Has the Internet route another prefix to a link, given as site and link names, for which the gateway must
    /// have the addresses. It takes a routed Internet.
    pub fn announce(&self, at: (&str, &str), prefix: (Ipv4Addr, u8)) -> Result<()> {
        let (site, number) = self.place(at)?;
        let backbone = self.backbone.as_ref().context("a paired Internet")?;
        let route = Backbone::route(prefix, site, number)?;
        backbone.netns().set_route(&route)?;
        let link = &self.sites[site].links()[number];
        let port = link.down_port();
        let route = port.route_via(Route::to(prefix, &port.exit()), link.address());
        port.netns().set_route(&route)
    }

    /// Hides a directory of the machine's from the lab's children, and what they put into it from the machine: they find it
    /// empty. For programs that have fixed places for their sockets. The calling thread must be the one that made the
    /// lab.
    pub fn cover(&self, directory: &Path) -> Result<()> {
        home::cover(directory)
    }

    /// Starts a child inside a namespace. It sees the lab's files and is killed when the lab ends.
    pub fn spawn(&self, netns: &Netns, command: Command) -> Result<Child> {
        self.spawner.spawn(netns, command)
    }
}
