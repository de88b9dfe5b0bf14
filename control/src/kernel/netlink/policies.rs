use std::net::IpAddr;

use ipnet::Ipv4Net;
use netlink_packet_xfrm::{
    IPPROTO_ESP, Selector, UserTemplate, XFRM_MODE_TUNNEL, XFRM_POLICY_ALLOW, XFRM_POLICY_FWD,
    XFRM_POLICY_IN, XFRM_POLICY_OUT, XFRM_SHARE_ANY, XfrmAttrs, XfrmMessage,
    constants::AF_INET,
    policy::{DelGetMessage, ModifyMessage},
};

use super::{Netlink, NetlinkError, gone};
use crate::reconcile::{
    Key,
    objects::{Policy, PolicyDirection, ReqId, Template},
};

impl Netlink {
    /// Reads Withy's policies, each with its key; those that are not of the kind that Withy makes
    /// without their contents.
    pub(crate) async fn policies(&self) -> Result<Vec<(Key, Option<Policy>)>, NetlinkError> {
        let request = XfrmMessage::GetPolicy(DelGetMessage::default());
        let answer = self.dump_xfrm("list policies", request).await?;
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                XfrmMessage::AddPolicy(policy) => read_policy(&policy),
                _ => None,
            })
            .collect())
    }

    /// Makes a policy.
    ///
    /// # Errors
    ///
    /// There is one with the same direction and networks, or the kernel refuses for another
    /// reason.
    pub async fn add_policy(&self, policy: &Policy) -> Result<(), NetlinkError> {
        let message = XfrmMessage::AddPolicy(write_policy(policy));
        self.execute_xfrm("add a policy", message).await
    }

    /// Replaces the policy that has the same direction and networks; at no moment is there none.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn replace_policy(&self, policy: &Policy) -> Result<(), NetlinkError> {
        let message = XfrmMessage::UpdatePolicy(write_policy(policy));
        self.execute_xfrm("replace a policy", message).await
    }

    /// Removes a policy. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_policy(
        &self,
        direction: PolicyDirection,
        source: Ipv4Net,
        destination: Ipv4Net,
    ) -> Result<(), NetlinkError> {
        let mut message = DelGetMessage::default();
        message.user_policy_id.selector = selector(source, destination);
        message.user_policy_id.direction = write_direction(direction);
        gone(
            self.execute_xfrm("remove a policy", XfrmMessage::DeletePolicy(message))
                .await,
        )
    }
}

fn write_policy(policy: &Policy) -> ModifyMessage {
    let mut message = ModifyMessage::default();
    let info = &mut message.user_policy_info;
    info.selector = selector(policy.source, policy.destination);
    info.direction = write_direction(policy.direction);
    info.priority = policy.priority;
    info.action = XFRM_POLICY_ALLOW;
    info.share = XFRM_SHARE_ANY;

    let mut template = UserTemplate::default();
    template.source(&IpAddr::V4(policy.template.source));
    template.destination(&IpAddr::V4(policy.template.destination));
    template.protocol(IPPROTO_ESP);
    template.mode(XFRM_MODE_TUNNEL);
    template.reqid(policy.template.reqid.to_kernel());
    message.nlas.push(XfrmAttrs::Template(vec![template]));
    message
}

fn selector(source: Ipv4Net, destination: Ipv4Net) -> Selector {
    let mut selector = Selector {
        family: AF_INET,
        ..Selector::default()
    };
    selector.saddr = netlink_packet_xfrm::Address::from_ipv4(&source.network());
    selector.daddr = netlink_packet_xfrm::Address::from_ipv4(&destination.network());
    selector.prefixlen_s = source.prefix_len();
    selector.prefixlen_d = destination.prefix_len();
    selector
}

fn write_direction(direction: PolicyDirection) -> u8 {
    match direction {
        PolicyDirection::In => XFRM_POLICY_IN,
        PolicyDirection::Forward => XFRM_POLICY_FWD,
        PolicyDirection::Out => XFRM_POLICY_OUT,
    }
}

fn read_policy(message: &ModifyMessage) -> Option<(Key, Option<Policy>)> {
    let info = &message.user_policy_info;
    // Policies with a mark or an interface have other keys, and Withy makes none.
    let templates =
        message
            .nlas
            .iter()
            .try_fold(&[][..], |templates, attribute| match attribute {
                XfrmAttrs::Template(templates) => Some(templates.as_slice()),
                XfrmAttrs::Mark(_) | XfrmAttrs::IfId(_) => None,
                _ => Some(templates),
            })?;
    let reqid = templates
        .iter()
        .find_map(|template| ReqId::from_kernel(template.reqid))?;
    let selector = info.selector;
    let source = Ipv4Net::new(selector.saddr.to_ipv4(), selector.prefixlen_s).ok()?;
    let destination = Ipv4Net::new(selector.daddr.to_ipv4(), selector.prefixlen_d).ok()?;
    let direction = match info.direction {
        XFRM_POLICY_IN => PolicyDirection::In,
        XFRM_POLICY_FWD => PolicyDirection::Forward,
        XFRM_POLICY_OUT => PolicyDirection::Out,
        _ => return None,
    };
    if selects_more(&selector, source, destination) {
        return None;
    }
    let key = Key::Policy {
        direction,
        source,
        destination,
    };
    let contents = match templates {
        [template] if info.action == XFRM_POLICY_ALLOW && is_plain(template) => Some(Policy {
            direction,
            source,
            destination,
            template: Template {
                source: template.saddr.to_ipv4(),
                destination: template.id.daddr.to_ipv4(),
                reqid,
            },
            priority: info.priority,
        }),
        _ => None,
    };
    Some((key, contents))
}

/// Whether a selector asks for more than two networks: ports, a protocol, an interface or a user.
fn selects_more(seen: &Selector, source: Ipv4Net, destination: Ipv4Net) -> bool {
    *seen != selector(source, destination)
}

/// Whether a template asks for ESP in tunnel mode and nothing else.
fn is_plain(template: &UserTemplate) -> bool {
    let UserTemplate { saddr, reqid, .. } = *template;
    let mut plain = UserTemplate {
        saddr,
        reqid,
        family: AF_INET,
        ..UserTemplate::default()
    };
    plain.id.daddr = template.id.daddr;
    plain.protocol(IPPROTO_ESP);
    plain.mode(XFRM_MODE_TUNNEL);
    *template == plain
}
