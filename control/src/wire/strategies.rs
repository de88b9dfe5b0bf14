//! Strategies of property tests: every message within its bounds.

use std::net::Ipv4Addr;

use proptest::{collection::vec, option, prelude::*};

use super::{
    Echo, Hello, HelloReply, Join, KeyRenew, KeySwitch, KeySwitched, LinkAddReply, LinkAddRequest,
    LinkAuthChallenge, LinkAuthResponse, LinkAuthResult, LinkAvailable, LinkDrop, LinkFacts,
    LinkState, LinkTarget, MAX_DETAIL, MAX_PREFIX, MAX_SUBNETS, MAX_SUITES, MAX_TAKEN, MAX_TEXT,
    Message, Reason, Subnet, SvcCreateReply, SvcCreateRequest, SvcTerms, Verdict, bounds::cut,
};

/// Any legal message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![opening(), authentication(), svc(), keys(), links(), echo()]
}

/// Texts of all lengths that are legal, the longest ones among them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => any::<String>().prop_map(|text| cut(text, MAX_TEXT)),
        1 => Just("x".repeat(MAX_TEXT)),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let detail = prop_oneof![any::<String>(), Just("x".repeat(MAX_DETAIL))];
    let refused = (any::<u16>(), detail)
        .prop_map(|(code, detail)| Verdict::refused(Reason::Other(code), detail));
    prop_oneof![Just(Verdict::success()), refused]
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn facts() -> impl Strategy<Value = LinkFacts> {
    (text(), any::<(u64, u64, u32, u16)>()).prop_map(|(name, (up, down, latency, mtu))| LinkFacts {
        name,
        up,
        down,
        latency,
        mtu,
    })
}

fn subnets() -> impl Strategy<Value = Vec<Subnet>> {
    let prefix = 0..=u8::try_from(MAX_PREFIX).unwrap();
    let subnet = (address(), prefix).prop_map(|(address, prefix)| Subnet { address, prefix });
    vec(subnet, 0..=MAX_SUBNETS)
}

fn opening() -> impl Strategy<Value = Message> {
    let join = any::<(u64, u32)>().prop_map(|(svc, ivc)| Join { svc, ivc });
    let hello = (any::<(u16, u16)>(), text(), option::of(join)).prop_map(
        |((oldest, newest), gateway, join)| Hello {
            oldest,
            newest,
            gateway,
            join,
        },
    );
    let reply =
        (verdict(), any::<u16>(), text()).prop_map(|(verdict, version, gateway)| HelloReply {
            verdict,
            version,
            gateway,
        });
    prop_oneof![
        hello.prop_map(Message::Hello),
        reply.prop_map(Message::HelloReply)
    ]
}

fn authentication() -> impl Strategy<Value = Message> {
    let challenge = any::<[u8; 32]>().prop_map(|nonce| LinkAuthChallenge { nonce });
    let response =
        (any::<[u8; 32]>(), address(), address()).prop_map(|(mac, source, destination)| {
            LinkAuthResponse {
                mac,
                source,
                destination,
            }
        });
    let result = verdict().prop_map(|verdict| LinkAuthResult { verdict });
    prop_oneof![
        challenge.prop_map(Message::LinkAuthChallenge),
        response.prop_map(Message::LinkAuthResponse),
        result.prop_map(Message::LinkAuthResult),
    ]
}

fn svc() -> impl Strategy<Value = Message> {
    let reply = (verdict(), option::of(terms()))
        .prop_map(|(verdict, svc)| Message::SvcCreateReply(SvcCreateReply { verdict, svc }));
    prop_oneof![
        svc_create_request().prop_map(Message::SvcCreateRequest),
        reply
    ]
}

/// Any legal request for an SVC: the longest message there is.
pub(crate) fn svc_create_request() -> impl Strategy<Value = SvcCreateRequest> {
    let numbers = any::<(Option<u64>, u32)>();
    let lists = (subnets(), subnets(), vec(address(), 0..=MAX_TAKEN));
    (numbers, vec(text(), 0..=MAX_SUITES), lists, text(), facts()).prop_map(
        |((svc, spi), suites, (initiator_subnets, responder_subnets, taken), split, link)| {
            SvcCreateRequest {
                svc,
                spi,
                suites,
                initiator_subnets,
                responder_subnets,
                split,
                taken,
                link,
            }
        },
    )
}

fn terms() -> impl Strategy<Value = SvcTerms> {
    let numbers = any::<(u64, u32, u32)>();
    (numbers, text(), address(), address(), facts()).prop_map(
        |((svc, spi, ivc), suite, initiator, responder, link)| SvcTerms {
            svc,
            spi,
            suite,
            initiator,
            responder,
            ivc,
            link,
        },
    )
}

fn keys() -> impl Strategy<Value = Message> {
    any::<(u64, u32)>().prop_flat_map(|(svc, spi)| {
        prop_oneof![
            Just(Message::KeySwitch(KeySwitch { svc, spi })),
            Just(Message::KeySwitched(KeySwitched { svc, spi })),
        ]
    })
}

fn links() -> impl Strategy<Value = Message> {
    let available = any::<u64>().prop_map(|svc| LinkAvailable { svc });
    let drop = (any::<(u64, Option<u32>)>(), text()).prop_map(|((svc, ivc), reason)| LinkDrop {
        svc,
        ivc,
        reason,
    });
    let state = any::<(u64, u32, bool)>().prop_map(|(svc, ivc, up)| LinkState { svc, ivc, up });
    prop_oneof![
        link_add(),
        available.prop_map(Message::LinkAvailable),
        any::<u64>().prop_map(|svc| Message::KeyRenew(KeyRenew { svc })),
        drop.prop_map(Message::LinkDrop),
        state.prop_map(Message::LinkState),
    ]
}

fn link_add() -> impl Strategy<Value = Message> {
    let request = (any::<u64>(), address(), facts(), option::of(address())).prop_map(
        |(svc, source, link, again)| LinkAddRequest {
            svc,
            source,
            link,
            again,
        },
    );
    let target =
        (any::<(u32, u16)>(), address(), facts()).prop_map(|((ivc, port), address, link)| {
            LinkTarget {
                ivc,
                address,
                port,
                link,
            }
        });
    let reply = (verdict(), option::of(target))
        .prop_map(|(verdict, target)| LinkAddReply { verdict, target });
    prop_oneof![
        request.prop_map(Message::LinkAddRequest),
        reply.prop_map(Message::LinkAddReply),
    ]
}

fn echo() -> impl Strategy<Value = Message> {
    prop_oneof![
        Just(Message::Echo(Echo {})),
        Just(Message::EchoReply(Echo {})),
    ]
}
