//! A gateway with a tunnel of its own that does not keep to the protocol.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use withy::wire::{
    Echo, Hello, Join, KeySwitch, LinkAuthResponse, Message, Reason, SvcCreateRequest, encode,
};

use super::{
    Ipsec, Lab, PATIENCE, Stage, TUNNEL, Witness, begin, insider::Insider, negotiated_config,
    refused, rehearse, site, spec, wait_until,
};

/// How long a machine that says the wrong things is given until it is refused.
const WRONG: Duration = Duration::from_secs(20);

pub(super) fn play(_: Ipsec) -> Result<()> {
    let lab = Lab::routed(&[site("a", 2), site("b", 2), site("c", 1)]);
    rehearse(lab, &spec(), |stage| {
        negotiated_config::write(&stage.spec, stage.lab, &["a", "c"], "b")?;
        begin(stage, 2)?;
        let witness = Witness::start(stage)?;
        let outcome = attack(stage);
        witness.finish(stage, "an insider at work")?;
        outcome
    })
}

fn attack(stage: &Stage<'_>) -> Result<()> {
    let insider = Insider::new(stage.lab.site("c")?)?;
    out_of_order(stage, &insider)?;
    broken(stage, &insider)?;
    tampered(stage, &insider)?;
    honest(&insider)
}

fn hello(versions: (u16, u16), join: Option<Join>) -> Message {
    Message::Hello(Hello {
        oldest: versions.0,
        newest: versions.1,
        gateway: "c".to_owned(),
        join,
    })
}

fn request() -> Message {
    Message::SvcCreateRequest(SvcCreateRequest {
        svc: None,
        spi: 0x1_0000,
        suites: Vec::new(),
        initiator_subnets: Vec::new(),
        responder_subnets: Vec::new(),
        split: String::new(),
        taken: Vec::new(),
        link: withy::wire::LinkFacts {
            name: "wan0".to_owned(),
            up: 1,
            down: 1,
            latency: 1,
            mtu: 1500,
        },
    })
}

/// Messages that come too early, twice, or not as they should: each closes its connection, for a reason.
fn out_of_order(stage: &Stage<'_>, insider: &Insider<'_>) -> Result<()> {
    let good = hello((1, 1), None);
    let proof = Message::LinkAuthResponse(LinkAuthResponse {
        mac: [7; 32],
        source: stage.lab.site("c")?.link("wan0")?.address(),
        destination: stage.lab.site("b")?.link("wan0")?.address(),
    });
    let cases = [
        ("version", "no common version", vec![hello((0, 0), None)]),
        (
            "unexpected",
            "an unexpected SVC_Create_Request",
            vec![request()],
        ),
        (
            "unexpected",
            "an unexpected Hello",
            vec![good.clone(), good.clone()],
        ),
        (
            "unexpected",
            "an unexpected Echo",
            vec![Message::Echo(Echo {})],
        ),
        (
            "unexpected",
            "an unexpected SVC_Create_Request",
            vec![good.clone(), request()],
        ),
        (
            "unknown",
            "it joins an unknown SVC or IVC",
            vec![hello((1, 1), Some(somebody_elses(stage)?))],
        ),
        (
            "authentication",
            "the response to the challenge is wrong",
            vec![good, proof],
        ),
    ];
    for (counter, reason, messages) in cases {
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| encode(0, message))
            .collect();
        let answers = expect(stage, counter, reason, || insider.say(&bytes))?;
        if reason == "no common version" {
            let told = answers.iter().any(|answer| {
                matches!(answer, Message::HelloReply(reply) if reply.verdict.reason() == Some(Reason::Version))
            });
            ensure!(told, "the insider is not told why: {answers:?}");
        }
    }
    Ok(())
}

/// The SVC of another tunnel, which an insider might have learnt of.
fn somebody_elses(stage: &Stage<'_>) -> Result<Join> {
    let file = stage.b.site().dirs().state().join("sessions.json");
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    let svc = saved[TUNNEL]["svc"]
        .as_u64()
        .context("no SVC is noted down")?;
    Ok(Join { svc, ivc: 1 })
}

/// Frames that are no messages.
fn broken(stage: &Stage<'_>, insider: &Insider<'_>) -> Result<()> {
    let mut too_long = encode(0, &Message::Echo(Echo {}));
    too_long[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut unreadable = encode(0, &hello((1, 1), None));
    let last = unreadable.len() - 1;
    unreadable.truncate(last);
    unreadable.push(0xff);
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), too_long, unreadable] {
        expect(stage, "message", "does not speak the protocol", || {
            insider.say(&bytes)
        })?;
    }
    Ok(())
}

/// The real machine, with one message changed.
fn tampered(stage: &Stage<'_>, insider: &Insider<'_>) -> Result<()> {
    type Tamper = fn(Message) -> Vec<Message>;
    let cases: [(&str, &str, Tamper); 3] = [
        // The answer to the challenge is that of the SVC; the connection claims to make another.
        (
            "authentication",
            "the response to the challenge is wrong",
            |message| match message {
                Message::Hello(hello) => vec![Message::Hello(Hello {
                    join: None,
                    ..hello
                })],
                other => vec![other],
            },
        ),
        (
            "unexpected",
            "it switches to keys that were not offered",
            |message| match message {
                Message::KeySwitch(switch) => vec![Message::KeySwitch(KeySwitch {
                    spi: switch.spi ^ 1,
                    ..switch
                })],
                other => vec![other],
            },
        ),
        (
            "unexpected",
            "an unexpected Key_Switch",
            |message| match message {
                Message::SvcCreateRequest(_) => {
                    vec![Message::KeySwitch(KeySwitch {
                        svc: 1,
                        spi: 0x1_0000,
                    })]
                }
                other => vec![other],
            },
        ),
    ];
    for (counter, reason, mut tamper) in cases {
        expect(stage, counter, reason, || {
            let before = refused(&stage.b, counter)?;
            let done = |_: &_| Ok(refused(&stage.b, counter)? > before);
            insider.negotiate(&mut tamper, done, WRONG)
        })?;
    }
    Ok(())
}

/// In the end the insider keeps to the protocol, but for saying twice what may be said again.
fn honest(insider: &Insider<'_>) -> Result<()> {
    let mut twice = |message: Message| match message {
        Message::Echo(_) | Message::LinkState(_) => {
            vec![message.clone(), message]
        }
        other => vec![other],
    };
    let whole = insider.negotiate(
        &mut twice,
        |sessions| {
            let agreed = sessions.tunnels().find_map(|(_, role)| role.agreed());
            Ok(agreed.is_some_and(|agreed| {
                agreed.ivcs.len() == 2 && agreed.ivcs.iter().all(|ivc| ivc.connected)
            }))
        },
        PATIENCE,
    )?;
    ensure!(whole, "the insider's own tunnel does not come up");
    Ok(())
}

/// Fails unless the responder refuses what is done for that reason: it says so once, and counts each time.
fn expect<T>(
    stage: &Stage<'_>,
    counter: &str,
    reason: &str,
    attack: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let before = refused(&stage.b, counter)?;
    let result = attack().with_context(|| format!("until {reason}"))?;
    wait_until(PATIENCE, &format!("a refusal: {reason}"), || {
        Ok(refused(&stage.b, counter)? > before && stage.b.log()?.contains(reason))
    })?;
    Ok(result)
}
