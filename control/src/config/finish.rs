//! From a draft without errors to the model.

use std::collections::BTreeMap;

use super::{
    class::Class,
    draft::{
        BundleDraft, ClassDraft, ConfigDraft, IvcDraft, KeyingDraft, LinkDraft, TunnelDraft, value,
    },
    keying::{Ivc, Keying},
    model::{Bundle, Config, Link, SplitPolicy, Subnets, Tunnel},
    value::{BundleName, LinkName, Mss, TunnelName},
};

type Links = BTreeMap<LinkName, Link>;

/// Returns the configuration; none if something is missing that decoding or the checks report.
pub(super) fn finish(draft: ConfigDraft) -> Option<Config> {
    let links: Links = draft
        .links
        .into_iter()
        .map(LinkDraft::finish)
        .collect::<Option<_>>()?;
    let bundle = |draft| finish_bundle(draft, &links);
    let bundles: BTreeMap<_, _> = draft
        .bundles
        .into_iter()
        .map(bundle)
        .collect::<Option<_>>()?;
    let tunnel = |draft| finish_tunnel(draft, &links, &bundles);
    let tunnels = draft
        .tunnels
        .into_iter()
        .map(tunnel)
        .collect::<Option<_>>()?;
    Some(Config {
        gateway: draft.gateway?.finish()?,
        links,
        bundles,
        tunnels,
    })
}

fn finish_bundle(draft: BundleDraft, links: &Links) -> Option<(BundleName, Bundle)> {
    let name = |link: &str| links.get_key_value(link).map(|(name, _)| name.clone());
    let links = draft
        .links
        .iter()
        .map(|link| name(&link.value))
        .collect::<Option<_>>()?;
    Some((draft.name?, Bundle { links }))
}

fn finish_tunnel(
    draft: TunnelDraft,
    links: &Links,
    bundles: &BTreeMap<BundleName, Bundle>,
) -> Option<(TunnelName, Tunnel)> {
    let endpoints = draft.endpoints();
    let keying = match draft.keying {
        KeyingDraft::Manual(security) => {
            let ivcs = finish_ivcs(draft.ivcs, links)?;
            Keying::Manual(security?.finish(endpoints?, ivcs)?)
        }
        KeyingDraft::Negotiated(negotiated) => Keying::Negotiated(negotiated.finish()?),
    };
    let split = value(draft.split).unwrap_or_default();
    let tunnel = Tunnel {
        description: value(draft.description),
        bundle: bundles
            .get_key_value(draft.bundle?.value.as_str())?
            .0
            .clone(),
        subnets: Subnets {
            local: draft
                .local_subnets
                .into_iter()
                .map(|subnet| subnet.value)
                .collect(),
            remote: draft
                .remote_subnets
                .into_iter()
                .map(|subnet| subnet.value)
                .collect(),
        },
        split,
        mss: value(draft.mss).unwrap_or_else(|| default_mss(split)),
        queue: value(draft.queue).unwrap_or(Tunnel::DEFAULT_QUEUE),
        resequence: value(draft.resequence).unwrap_or_default(),
        policy: value(draft.policy).unwrap_or_default(),
        classes: finish_classes(draft.classes)?,
        resend: value(draft.resend).unwrap_or_default(),
        keying,
    };
    Some((draft.name?, tunnel))
}

fn finish_classes(drafts: Vec<ClassDraft>) -> Option<Vec<Class>> {
    let finish = |draft: ClassDraft| {
        Some(Class {
            takes: draft.takes?.value,
            policy: draft.policy?.value,
        })
    };
    drafts.into_iter().map(finish).collect()
}

fn finish_ivcs(drafts: Vec<IvcDraft>, links: &Links) -> Option<Vec<Ivc>> {
    let finish = |mut ivc: IvcDraft| {
        let (name, link) = links.get_key_value(ivc.link.take()?.value.as_str())?;
        ivc.finish(name.clone(), link)
    };
    drafts.into_iter().map(finish).collect()
}

/// Where every packet is split anyway, smaller TCP segments only cost headers.
fn default_mss(split: SplitPolicy) -> Mss {
    match split {
        SplitPolicy::Always => Mss::Off,
        SplitPolicy::Auto | SplitPolicy::Mtu | SplitPolicy::WholeOnly => Mss::Auto,
    }
}
