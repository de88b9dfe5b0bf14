use std::net::IpAddr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{Netlink, NetlinkError, gone};
use crate::reconcile::objects::{PROTOCOL, Rule};

impl Netlink {
    /// Reads Withy's rules.
    pub(crate) async fn rules(&self) -> Result<Vec<Rule>, NetlinkError> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet;
        let answer = self
            .dump_route("list rules", RouteNetlinkMessage::GetRule(request))
            .await?;
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRule(rule) => read_rule(&rule),
                _ => None,
            })
            .collect())
    }

    /// Makes a rule.
    ///
    /// # Errors
    ///
    /// The same rule exists, or the kernel refuses for another reason.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRule(write_rule(rule));
        self.execute_route("add a rule", NLM_F_CREATE | NLM_F_EXCL, message)
            .await
    }

    /// Removes a rule of Withy's. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRule(write_rule(rule));
        gone(self.execute_route("remove a rule", 0, message).await)
    }
}

fn write_rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.header.src_len = rule.from.prefix_len();
    if rule.from.prefix_len() > 0 {
        message
            .attributes
            .push(RuleAttribute::Source(IpAddr::V4(rule.from.network())));
    }
    message
        .attributes
        .push(RuleAttribute::Priority(rule.priority));
    message.attributes.push(RuleAttribute::Table(rule.table));
    message
        .attributes
        .push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    message
}

fn read_rule(message: &RuleMessage) -> Option<Rule> {
    let (mut source, mut ours) = (std::net::Ipv4Addr::UNSPECIFIED, false);
    let (mut priority, mut table) = (0, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(IpAddr::V4(ip)) => source = *ip,
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::Protocol(protocol) => {
                ours = *protocol == RouteProtocol::Other(PROTOCOL);
            }
            _ => {}
        }
    }
    let from = Ipv4Net::new(source, message.header.src_len).ok()?;
    ours.then_some(Rule {
        priority,
        from,
        table,
    })
}
