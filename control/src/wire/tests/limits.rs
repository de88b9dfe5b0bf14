//! Messages beyond their bounds.

use std::net::Ipv4Addr;

use super::{framed, read_all};
use crate::wire::{
    Excess, HelloReply, LinkDrop, LinkFacts, MAX_DETAIL, MAX_LENGTH, MAX_PREFIX, MAX_SUBNETS,
    MAX_SUITES, MAX_TAKEN, MAX_TEXT, Message, Subnet, SvcCreateRequest, Verdict, WireError, encode,
};

/// The longest request for an SVC: everything is as much as it may be.
fn longest() -> SvcCreateRequest {
    let text = "x".repeat(MAX_TEXT);
    let subnet = Subnet {
        address: Ipv4Addr::BROADCAST,
        prefix: 32,
    };
    SvcCreateRequest {
        svc: Some(u64::MAX),
        spi: u32::MAX,
        suites: vec![text.clone(); MAX_SUITES],
        initiator_subnets: vec![subnet; MAX_SUBNETS],
        responder_subnets: vec![subnet; MAX_SUBNETS],
        split: text.clone(),
        taken: vec![Ipv4Addr::BROADCAST; MAX_TAKEN],
        link: LinkFacts {
            name: text,
            up: u64::MAX,
            down: u64::MAX,
            latency: u32::MAX,
            mtu: u16::MAX,
        },
    }
}

/// What a decoder finds too much in a message.
fn excess(message: &Message) -> Option<Excess> {
    match read_all([&encode(1, message)[..]]) {
        Err(WireError::Excess { number, excess }) => {
            assert_eq!(number, message.number());
            assert_eq!(message.check(), Err(excess));
            Some(excess)
        }
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_longest_message_fits() {
    let message = Message::SvcCreateRequest(longest());
    assert_eq!(excess(&message), None);
    assert!(encode(1, &message).len() <= MAX_LENGTH as usize);
}

/// Makes one field of a request hold too much.
type Overfill = fn(&mut SvcCreateRequest);

#[test]
fn each_field_of_a_request_has_its_limit() {
    let cases: [(Overfill, usize); 9] = [
        (|it| it.suites.push(String::new()), MAX_SUITES),
        (|it| it.suites[3].push('x'), MAX_TEXT),
        (
            |it| it.initiator_subnets.push(it.initiator_subnets[0]),
            MAX_SUBNETS,
        ),
        (
            |it| it.responder_subnets.push(it.responder_subnets[0]),
            MAX_SUBNETS,
        ),
        (|it| it.initiator_subnets[5].prefix = 33, MAX_PREFIX),
        (|it| it.responder_subnets[5].prefix = 33, MAX_PREFIX),
        (|it| it.split.push('x'), MAX_TEXT),
        (|it| it.taken.push(Ipv4Addr::LOCALHOST), MAX_TAKEN),
        (|it| it.link.name.push('x'), MAX_TEXT),
    ];
    for (index, (overfill, limit)) in cases.into_iter().enumerate() {
        let mut request = longest();
        overfill(&mut request);
        let found = excess(&Message::SvcCreateRequest(request)).unwrap();
        assert_eq!((found.limit, found.found), (limit, limit + 1), "{index}");
    }
}

#[test]
fn texts_for_people_have_a_limit() {
    let reason = "x".repeat(MAX_TEXT + 1);
    let drop = LinkDrop {
        svc: 1,
        ivc: None,
        reason: reason.clone(),
    };
    let found = excess(&Message::LinkDrop(drop)).unwrap();
    assert_eq!(
        found.to_string(),
        "bytes of `reason`: 201, and 200 at most are possible"
    );
    let reply = HelloReply {
        verdict: Verdict::success(),
        version: 1,
        gateway: reason,
    };
    assert!(excess(&Message::HelloReply(reply)).is_some());
}

#[test]
fn a_long_reason_is_cut() {
    let drop = LinkDrop::new(1, None, &"ä".repeat(MAX_TEXT));
    assert_eq!(excess(&Message::LinkDrop(drop)), None);
}

#[test]
fn the_detail_of_a_verdict_has_a_limit() {
    let mut payload = vec![0xa1, 0x00, 0xa2, 0x00, 0x0c, 0x01];
    minicbor::encode("x".repeat(MAX_DETAIL + 1), &mut payload).unwrap();
    let error = read_all([&framed(5, &payload)[..]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of type 5 with too much in it: bytes of a verdict's detail: 501, and 500 at most are possible"
    );
}

#[test]
fn nothing_may_stand_behind_a_message() {
    let error = read_all([&framed(15, &[0xa0, 0, 0])[..]]).unwrap_err();
    let expected = "a message of type 15 with 2 bytes behind its end";
    assert_eq!(error.to_string(), expected);
}
