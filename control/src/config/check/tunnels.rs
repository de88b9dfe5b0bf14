//! The bundle and the IVCs of each tunnel, their number, and settings that contradict another.

use std::collections::{BTreeMap, BTreeSet};

use super::links::repeated;
use crate::config::{
    draft::{BundleDraft, ConfigDraft, GatewayDraft, IvcDraft, LinkDraft, TunnelDraft},
    model::SplitPolicy,
    sink::{At, Located, Sink},
    value::{Mss, Setting, nearest, quote, suggest},
};

type Links<'a> = BTreeMap<&'a str, &'a LinkDraft>;

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let links = draft
        .links
        .iter()
        .map(|link| (link.key.value.as_str(), link))
        .collect();
    let bundles: BTreeMap<_, _> = draft
        .bundles
        .iter()
        .map(|bundle| (bundle.key.value.as_str(), bundle))
        .collect();
    let names: Vec<&str> = draft
        .bundles
        .iter()
        .map(|bundle| bundle.key.value.as_str())
        .collect();
    for tunnel in &draft.tunnels {
        let bundle = tunnel.bundle.as_ref().and_then(|reference| {
            let bundle = bundles.get(reference.value.as_str());
            if bundle.is_none() {
                let message = format!("there is no bundle {}", quote(&reference.value));
                sink.error(&reference.at, message, suggest(&reference.value, &names));
            }
            bundle.copied()
        });
        for ivc in &tunnel.ivcs {
            ivc_link(ivc, bundle, &links, sink);
        }
        clamping(tunnel, sink);
    }
    pairs(&draft.tunnels, sink);
    if let Some(gateway) = &draft.gateway {
        limits(gateway, &draft.tunnels, sink);
    }
}

fn ivc_link(ivc: &IvcDraft, bundle: Option<&BundleDraft>, links: &Links<'_>, sink: &mut Sink) {
    let Some(reference) = &ivc.link else { return };
    let name = reference.value.as_str();
    let choices = match bundle {
        Some(bundle) => members(bundle, links),
        None => links.keys().copied().collect(),
    };
    let Some(link) = links.get(name) else {
        let message = format!("there is no link {}", quote(name));
        sink.error(&reference.at, message, suggest(name, &choices));
        return;
    };
    if let Some(bundle) = bundle
        && !choices.contains(&name)
        && !meant(bundle, name, links)
    {
        let message = format!("link {name} is not in bundle {}", bundle.key.value);
        let help = match choices.as_slice() {
            [] => "add it to the bundle".to_owned(),
            _ => format!(
                "add it to the bundle, or take one of {}",
                choices.join(", ")
            ),
        };
        sink.error(&reference.at, message, help);
    }
    against_link(ivc, link, sink);
}

/// Returns the links of a bundle that exist.
fn members<'a>(bundle: &'a BundleDraft, links: &Links<'_>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = bundle
        .links
        .iter()
        .map(|link| link.value.as_str())
        .collect();
    names
        .into_iter()
        .filter(|name| links.contains_key(name))
        .collect()
}

/// Returns whether a bundle was probably meant to have a link: it is empty or misspells it, which
/// is an error by itself.
fn meant(bundle: &BundleDraft, link: &str, links: &Links<'_>) -> bool {
    let mut unknown = bundle
        .links
        .iter()
        .filter(|member| !links.contains_key(member.value.as_str()));
    bundle.links.is_empty() || unknown.any(|member| nearest(&member.value, &[link]).is_some())
}

/// An IVC is a path through its link and cannot carry more than that.
fn against_link(ivc: &IvcDraft, link: &LinkDraft, sink: &mut Sink) {
    let limit = link.rate.and_then(|limit| limit.up.fixed());
    if let (Some(at), Some(limit)) = (&ivc.rate, limit)
        && let Some(rate) = at.value.fixed()
        && rate > limit
    {
        let message = format!("{rate} is more than the link sends: {limit}");
        sink.warning(&at.at, message, format!("write {limit} or less"));
    }
    let mtu = |setting: &Option<Located<Setting<_>>>| setting.as_ref()?.value.fixed();
    if let (Some(at), Some(own), Some(limit)) = (&ivc.mtu, mtu(&ivc.mtu), mtu(&link.mtu))
        && own > limit
    {
        let message = format!("{own} is more than the link's MTU: {limit}");
        sink.error(&at.at, message, format!("write {limit} or less"));
    }
}

/// Received packets are told apart by their pair of addresses.
fn pairs(tunnels: &[TunnelDraft], sink: &mut Sink) {
    let ivcs = tunnels.iter().flat_map(|tunnel| &tunnel.ivcs);
    let pairs = ivcs.filter_map(|ivc| {
        let (link, remote) = (ivc.link.as_ref()?, ivc.remote.as_ref()?);
        Some(((link.value.as_str(), remote.value), &ivc.at))
    });
    for (((link, remote), at), first) in repeated(pairs) {
        let message = format!(
            "link {} to {remote} is an IVC already, {first}",
            quote(link)
        );
        sink.error(at, message, "pair each link with a remote address once");
    }
}

fn clamping(tunnel: &TunnelDraft, sink: &mut Sink) {
    let (Some(split), Some(mss)) = (&tunnel.split, &tunnel.mss) else {
        return;
    };
    if split.value == SplitPolicy::Always && mss.value != Mss::Off {
        let message = "clamping only costs headers where every packet is split";
        sink.warning(&mss.at, message, "leave mss out, or write off");
    }
}

fn limits(gateway: &GatewayDraft, tunnels: &[TunnelDraft], sink: &mut Sink) {
    let limits = gateway.limits();
    let ends: BTreeSet<_> = tunnels
        .iter()
        .filter_map(|tunnel| Some(tunnel.remote_endpoint.as_ref()?.value))
        .collect();
    let negotiated = tunnels.iter().filter_map(TunnelDraft::negotiated).count();
    let svcs = ends.len() + negotiated;
    let ivcs = tunnels.iter().map(|tunnel| tunnel.ivcs.len()).sum();
    let uses = [
        (&gateway.svcs, "svcs", limits.svcs, svcs, "tunnels"),
        (&gateway.ivcs, "ivcs", limits.ivcs, ivcs, "IVCs"),
    ];
    for (written, name, limit, used, what) in uses {
        if used <= usize::try_from(limit).unwrap_or(usize::MAX) {
            continue;
        }
        let at = match (written, tunnels.last()) {
            (Some(limit), _) => limit.at.clone(),
            (None, Some(last)) => At {
                field: format!("gateway.limits.{name}"),
                position: last.key.at.position,
            },
            (None, None) => continue,
        };
        let message = format!("{limit} is too few: the file has {used} {what}");
        sink.error(&at, message, format!("write {used} or more"));
    }
}
