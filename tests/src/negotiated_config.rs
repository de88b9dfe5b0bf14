//! Configuration files for gateways that negotiate: the responder names keys, the initiators give
//! them an address.

use std::{fmt::Write as _, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::{Context, Result};
use withy::identity::{PrivateKey, PublicKey};

use crate::{
    lab::{LAN_DEVICE, Lab, Link, Site},
    site_config::{TUNNEL, TunnelSpec, write_file},
};

/// Where responders take tunnel endpoints from.
const POOL: &str = "10.255.0.0/24";

/// Writes the configurations of gateways that open a tunnel to one that waits for them. Each
/// initiator calls its tunnel [`TUNNEL`]; for the responder see [`tunnel_to`].
pub fn write(spec: &TunnelSpec, lab: &Lab, initiators: &[&str], responder: &str) -> Result<()> {
    let responder = lab.site(responder)?;
    let mut all = head(spec, responder)?;
    for (number, name) in initiators.iter().enumerate() {
        let site = lab.site(name)?;
        let waits = format!("{{key: \"{}\"}}", public_key(site)?);
        let called = tunnel_to(number, name);
        all += &tunnel(spec, &called, responder, site, &waits);
        write_file(site, &initiator(spec, (site, site), responder)?)?;
    }
    write_file(responder, &all)?;
    Ok(())
}

/// What a responder calls its tunnel to the initiator of that number and name.
#[must_use]
pub fn tunnel_to(number: usize, initiator: &str) -> String {
    match number {
        0 => TUNNEL.to_owned(),
        _ => format!("to-{initiator}"),
    }
}

/// The configuration of an initiator at `here` that claims the private network of `claimed`.
fn initiator(
    spec: &TunnelSpec,
    (here, claimed): (&Site, &Site),
    responder: &Site,
) -> Result<String> {
    let address = responder
        .links()
        .first()
        .context("a site without links")?
        .address();
    let opens = format!(
        "{{key: \"{}\", address: {address}}}",
        public_key(responder)?
    );
    Ok(head(spec, here)? + &tunnel(spec, TUNNEL, claimed, responder, &opens))
}

/// Everything before the first tunnel.
fn head(spec: &TunnelSpec, here: &Site) -> Result<String> {
    private_key(here)?;
    let names: Vec<&str> = here.links().iter().map(Link::name).collect();
    let mut text = format!(
        "gateway:\n  name: {}\n  lan: [{LAN_DEVICE}]\n  key_file: {}\n  pool: {POOL}\n  engine: {}\nlinks:\n",
        here.name(),
        key_file(here).display(),
        spec.engine(here),
    );
    for link in here.links() {
        text.push_str(&spec.link(link));
    }
    writeln!(
        text,
        "bundles:\n  all: {{links: [{}]}}\ntunnels:",
        names.join(", ")
    )?;
    Ok(text)
}

fn tunnel(spec: &TunnelSpec, name: &str, here: &Site, there: &Site, peer: &str) -> String {
    let (local, remote) = (here.lan().prefix(), there.lan().prefix());
    format!(
        "  {name}:\n    bundle: all\n    split: {}\n    resequence: {}\n    resend: {}\n    peer: {peer}\n\
         \x20   subnets: {{local: [{}/{}], remote: [{}/{}]}}\n\
         \x20   security: {{mode: negotiated, suites: [{}]}}\n{}",
        spec.split,
        spec.resequence,
        spec.resend,
        local.0,
        local.1,
        remote.0,
        remote.1,
        spec.suite,
        spec.classes(),
    )
}

fn key_file(site: &Site) -> PathBuf {
    site.dirs().keys().join("gateway.key")
}

/// A site's private key, made when it is first asked for.
pub fn private_key(site: &Site) -> Result<PrivateKey> {
    let path = key_file(site);
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(PrivateKey::parse(&text)?);
    }
    let key = PrivateKey::generate()?;
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{}", key.to_text().as_str())?;
    Ok(key)
}

/// The key by which others know a site.
pub fn public_key(site: &Site) -> Result<PublicKey> {
    Ok(private_key(site)?.public()?)
}

/// Gives a site another key, which nobody knows.
pub fn forget_key(site: &Site) -> Result<()> {
    fs::remove_file(key_file(site)).context("the site has no key yet")
}

/// Gives a site the key and the configuration of another, as if that had been copied to other hardware.
pub fn impersonate(
    spec: &TunnelSpec,
    lab: &Lab,
    (twin, original): (&str, &str),
    responder: &str,
) -> Result<()> {
    let (twin, original) = (lab.site(twin)?, lab.site(original)?);
    fs::copy(key_file(original), key_file(twin)).context("the original has no key yet")?;
    let text = initiator(spec, (twin, original), lab.site(responder)?)?;
    write_file(twin, &text)?;
    Ok(())
}
