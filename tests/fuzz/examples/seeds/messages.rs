//! A message of each type.

use std::net::Ipv4Addr;

use withy::wire::{
    Echo, Hello, HelloReply, Join, KeyRenew, KeySwitch, KeySwitched, LinkAddReply, LinkAddRequest,
    LinkAuthChallenge, LinkAuthResponse, LinkAuthResult, LinkAvailable, LinkDrop, LinkFacts,
    LinkState, LinkTarget, Message, Reason, Subnet, SvcCreateReply, SvcCreateRequest, SvcTerms,
    Verdict,
};

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SVC: u64 = 0x1234_5678_9abc_def0;

/// One of each, in the order of the types.
pub(crate) fn all() -> Vec<Message> {
    [opening(), svc(), keys(), links(), echoes()].concat()
}

fn opening() -> Vec<Message> {
    vec![
        Message::Hello(Hello {
            oldest: 1,
            newest: 2,
            gateway: "london".to_owned(),
            join: Some(Join { svc: SVC, ivc: 3 }),
        }),
        Message::HelloReply(HelloReply {
            verdict: Verdict::success(),
            version: 1,
            gateway: "paris".to_owned(),
        }),
        Message::LinkAuthChallenge(LinkAuthChallenge { nonce: [5; 32] }),
        Message::LinkAuthResponse(LinkAuthResponse {
            mac: [7; 32],
            source: LOCAL,
            destination: REMOTE,
        }),
        Message::LinkAuthResult(LinkAuthResult {
            verdict: Verdict::refused(Reason::Translated, "take the router away"),
        }),
    ]
}

fn svc() -> Vec<Message> {
    vec![
        Message::SvcCreateRequest(SvcCreateRequest {
            svc: Some(SVC),
            spi: 0x1001,
            suites: vec!["aes-gcm-256".to_owned(), "chacha20-poly1305".to_owned()],
            initiator_subnets: vec![subnet(192)],
            responder_subnets: vec![subnet(10), subnet(172)],
            split: "mtu".to_owned(),
            taken: vec![LOCAL, REMOTE],
            link: facts(),
        }),
        Message::SvcCreateReply(SvcCreateReply {
            verdict: Verdict::success(),
            svc: Some(SvcTerms {
                svc: SVC,
                spi: 0x1002,
                suite: "aes-gcm-256".to_owned(),
                initiator: LOCAL,
                responder: REMOTE,
                ivc: 0,
                link: facts(),
            }),
        }),
    ]
}

fn keys() -> Vec<Message> {
    vec![
        Message::KeySwitch(KeySwitch {
            svc: SVC,
            spi: 0x1003,
        }),
        Message::KeySwitched(KeySwitched {
            svc: SVC,
            spi: 0x1003,
        }),
    ]
}

fn links() -> Vec<Message> {
    vec![
        Message::LinkAddRequest(LinkAddRequest {
            svc: SVC,
            source: LOCAL,
            link: facts(),
            again: Some(REMOTE),
        }),
        Message::LinkAddReply(LinkAddReply {
            verdict: Verdict::success(),
            target: Some(LinkTarget {
                ivc: 1,
                address: REMOTE,
                port: 443,
                link: facts(),
            }),
        }),
        Message::LinkAvailable(LinkAvailable { svc: SVC }),
        Message::KeyRenew(KeyRenew { svc: SVC }),
        Message::LinkDrop(LinkDrop {
            svc: SVC,
            ivc: Some(1),
            reason: "the link is gone".to_owned(),
        }),
        Message::LinkState(LinkState {
            svc: SVC,
            ivc: 1,
            up: true,
        }),
    ]
}

fn echoes() -> Vec<Message> {
    vec![Message::Echo(Echo {}), Message::EchoReply(Echo {})]
}

fn subnet(first: u8) -> Subnet {
    Subnet {
        address: Ipv4Addr::new(first, 168, 1, 0),
        prefix: 24,
    }
}

fn facts() -> LinkFacts {
    LinkFacts {
        name: "dsl".to_owned(),
        up: 20_000_000,
        down: 80_000_000,
        latency: 12_000,
        mtu: 1500,
    }
}
