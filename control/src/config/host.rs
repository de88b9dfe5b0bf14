//! A configuration against the machine that it is for.

use std::collections::BTreeMap;

use super::{
    Loaded,
    report::{Diagnostic, Report, Severity},
    value::{InterfaceName, Mtu, Setting, suggest},
};

/// What is known of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Whether its packets have Ethernet headers (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// The interfaces of a machine, by name.
pub type Interfaces = BTreeMap<String, InterfaceFacts>;

/// Checks that the interfaces of a configuration exist, are Ethernet, and carry the packets that
/// the configuration says they do. Touches nothing.
#[must_use]
pub fn check(loaded: &Loaded, interfaces: &Interfaces) -> Report {
    let mut check = Check {
        loaded,
        interfaces,
        findings: Vec::new(),
    };
    let config = &loaded.config;
    for (index, name) in config.gateway.lan.iter().enumerate() {
        check.interface(&format!("gateway.lan[{index}]"), name);
    }
    for (name, link) in &config.links {
        let facts = check.interface(&format!("links.{name}.interface"), &link.interface);
        if let (Some(facts), Setting::Fixed(mtu)) = (facts, link.mtu) {
            check.mtu(&format!("links.{name}.mtu"), mtu, &link.interface, facts);
        }
    }
    for (name, tunnel) in &config.tunnels {
        let ivcs = tunnel.manual().into_iter().flat_map(|manual| &manual.ivcs);
        for (index, ivc) in ivcs.enumerate() {
            let Some(link) = config.links.get(&ivc.link) else {
                continue;
            };
            let facts = interfaces.get(link.interface.as_str());
            // An MTU that comes from the link has been reported there.
            if let (Some(facts), Setting::Fixed(mtu), true) = (facts, ivc.mtu, ivc.mtu != link.mtu)
            {
                check.mtu(
                    &format!("tunnels.{name}.ivcs[{index}].mtu"),
                    mtu,
                    &link.interface,
                    *facts,
                );
            }
        }
    }
    Report::new(&loaded.file, loaded.source.clone(), check.findings)
}

struct Check<'a> {
    loaded: &'a Loaded,
    interfaces: &'a Interfaces,
    findings: Vec<Diagnostic>,
}

impl Check<'_> {
    fn interface(&mut self, field: &str, name: &InterfaceName) -> Option<InterfaceFacts> {
        let Some(facts) = self.interfaces.get(name.as_str()) else {
            let usable = self.interfaces.iter().filter(|(_, facts)| facts.ethernet);
            let names: Vec<&str> = usable.map(|(name, _)| name.as_str()).collect();
            let help = match names.as_slice() {
                [] => "this machine has no Ethernet interface".to_owned(),
                _ => suggest(name.as_str(), &names),
            };
            self.error(field, format!("there is no interface {name}"), help);
            return None;
        };
        if !facts.ethernet {
            let help = "name an Ethernet interface".to_owned();
            self.error(field, format!("interface {name} is not Ethernet"), help);
        }
        Some(*facts)
    }

    fn mtu(&mut self, field: &str, mtu: Mtu, name: &InterfaceName, facts: InterfaceFacts) {
        if u32::from(mtu.get()) > facts.mtu {
            let message = format!(
                "{mtu} is more than the MTU of interface {name}: {}",
                facts.mtu
            );
            self.error(field, message, format!("write {} or less", facts.mtu));
        }
    }

    fn error(&mut self, field: &str, message: String, help: String) {
        self.findings.push(Diagnostic {
            severity: Severity::Error,
            position: self.loaded.position(field),
            field: field.to_owned(),
            message,
            help: Some(help),
        });
    }
}
