//! Writes the inputs that fuzzing starts from: `cargo run --package withy-fuzz --example seeds`.
//!
//! For each target there are a few that reach far into what it tests. Configurations are not among them: the examples of
//! `deploy/` and the bad files of the controller's tests serve.

mod messages;
mod packets;

use std::{fs, io, path::Path};

use withy::{
    liveness::{Message, Received},
    resend::{Kind, Word},
    wire::{self, encode},
};

/// A target's inputs, with their names.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() -> io::Result<()> {
    let messages = messages::all();
    write("wire_decoder", &streams(&messages))?;
    write("wire_messages", &payloads(&messages))?;
    write("keepalive", &keepalives())?;
    write("esp", &packets::inside())?;
    write("header", &packets::all())?;
    write("word", &words())
}

fn write(target: &str, seeds: &Seeds) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in seeds {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// Streams behind the lengths of their parts.
fn streams(messages: &[wire::Message]) -> Seeds {
    let all: Vec<u8> = (1..)
        .zip(messages)
        .flat_map(|(id, message)| encode(id, message))
        .collect();
    let parts = |lengths: [u8; 4], stream: &[u8]| [&lengths, stream].concat();
    let mut unknown = encode(9, &messages[messages.len() - 1]);
    unknown[11] = 0xff;
    let mut endless = unknown.clone();
    endless[12] = 0xff;
    vec![
        ("all".to_owned(), parts([0, 15, 99, 255], &all)),
        (
            "bytewise".to_owned(),
            parts([0; 4], &encode(7, &messages[0])),
        ),
        (
            "unknown".to_owned(),
            parts([3; 4], &[unknown, encode(1, &messages[0])].concat()),
        ),
        ("endless".to_owned(), parts([255; 4], &endless)),
    ]
}

/// Payloads behind their types.
fn payloads(messages: &[wire::Message]) -> Seeds {
    let seed = |message: &wire::Message| {
        let payload = &encode(0, message)[wire::HEADER_LEN..];
        let number = u8::try_from(message.number()).unwrap_or(u8::MAX);
        let name = message.name().to_lowercase();
        (name, [&[number], payload].concat())
    };
    messages.iter().map(seed).collect()
}

fn keepalives() -> Seeds {
    let first = Message {
        time: 1,
        sequence: 1,
        interval: 100,
        length: Message::LENGTH,
        ..Message::default()
    };
    let heard = Message {
        hears: true,
        time: u64::MAX,
        received: Received {
            newest: 7,
            count: 6,
            held: 50_000,
        },
        ..first
    };
    let probe = Message {
        length: 9216,
        probed: 3,
        ..heard
    };
    let sparing = Message {
        hurry: true,
        metered: true,
        asks: true,
        interval: 5000,
        lost: Some(([192, 0, 2, 2].into(), [198, 51, 100, 2].into())),
        ..heard
    };
    let seeds = [
        ("first", first),
        ("heard", heard),
        ("probe", probe),
        ("sparing", sparing),
    ];
    let sealed = |message| withy_fuzz::keepalive::seal(message).to_vec();
    seeds
        .iter()
        .map(|(name, message)| ((*name).to_owned(), sealed(message)))
        .collect()
}

fn words() -> Seeds {
    let word = |kind, numbers: &[u32]| {
        let mut word = Word::new(kind, 0x1001);
        let added = numbers.iter().filter(|number| word.add(**number)).count();
        let mut bytes = vec![0; Word::LONGEST];
        let length = word.write(&mut bytes).unwrap_or_default();
        bytes.truncate(length);
        assert_eq!(added, numbers.len());
        bytes
    };
    [
        ("one", word(Kind::Wanted, &[7])),
        ("runs", word(Kind::Wanted, &[7, 8, 9, 12, 14, 15])),
        ("round", word(Kind::Gone, &[u32::MAX - 1, u32::MAX, 0, 1])),
        ("none", word(Kind::Gone, &[])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}
