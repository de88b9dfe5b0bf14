//! What gateways say to each other. Fields are numbered; a reader skips numbers that it does not know, and optional fields
//! may be missing, so that versions can differ.

use std::net::Ipv4Addr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{
    codec::{WireError, read_payload},
    verdict::Verdict,
};

/// The oldest protocol version that is understood.
pub const OLDEST_VERSION: u16 = 1;
/// The newest protocol version that is understood.
pub const NEWEST_VERSION: u16 = 1;

/// The first message of the initiator on each connection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The oldest version that the initiator understands.
    #[n(0)]
    pub oldest: u16,
    /// The newest version that the initiator understands.
    #[n(1)]
    pub newest: u16,
    /// The initiator's name, for people.
    #[n(2)]
    pub gateway: String,
    /// What the connection is for: an IVC that joins an SVC, or none to make or renew one.
    #[n(3)]
    pub join: Option<Join>,
}

/// The IVC for which a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Join {
    /// The SVC, as the responder named it.
    #[n(0)]
    pub svc: u64,
    /// The IVC, as the responder named it in its [`LinkAddReply`].
    #[n(1)]
    pub ivc: u32,
}

/// The responder's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HelloReply {
    /// Whether the connection is welcome.
    #[n(0)]
    pub verdict: Verdict,
    /// The version that both speak from here on: the newest that both understand.
    #[n(1)]
    pub version: u16,
    /// The responder's name, for people.
    #[n(2)]
    pub gateway: String,
}

/// Asks the initiator to prove that it is the one that it was before, at the addresses that both see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAuthChallenge {
    /// Random, of this connection alone.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 32],
}

/// Answers a [`LinkAuthChallenge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAuthResponse {
    /// HMAC-SHA-256; what goes into it stands in `session::auth`.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub mac: [u8; 32],
    /// The initiator's address as it sees it itself: a translation on the way shows.
    #[n(1)]
    pub source: Ipv4Addr,
    /// The responder's address as the initiator sees it.
    #[n(2)]
    pub destination: Ipv4Addr,
}

/// Tells whether the response was right.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAuthResult {
    /// Whether it was.
    #[n(0)]
    pub verdict: Verdict,
}

/// What a gateway tells of the link at its end of an IVC.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct LinkFacts {
    /// Its name in the gateway's configuration.
    #[n(0)]
    pub name: String,
    /// Its rate towards the public network in bit/s; 0 where that is not stated.
    #[n(1)]
    pub up: u64,
    /// Its rate from the public network in bit/s; 0 where that is not stated.
    #[n(2)]
    pub down: u64,
    /// Its one-way latency in microseconds.
    #[n(3)]
    pub latency: u32,
    /// Its MTU in bytes.
    #[n(4)]
    pub mtu: u16,
}

/// A subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Subnet {
    /// The first address.
    #[n(0)]
    pub address: Ipv4Addr,
    /// The length of the prefix in bits.
    #[n(1)]
    pub prefix: u8,
}

/// Asks for an SVC, or for new keys of one. The keys come from this connection's handshake.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SvcCreateRequest {
    /// The SVC that goes on with new keys, as the responder named it; none for a new one.
    #[n(0)]
    pub svc: Option<u64>,
    /// The SPI by which the initiator wants to receive.
    #[n(1)]
    pub spi: u32,
    /// The suites that the initiator accepts, the best one first, by their names.
    #[n(2)]
    pub suites: Vec<String>,
    /// The subnets behind the initiator.
    #[n(3)]
    pub initiator_subnets: Vec<Subnet>,
    /// The subnets behind the responder that the initiator wants to reach.
    #[n(4)]
    pub responder_subnets: Vec<Subnet>,
    /// When packets are split, by the policy's name.
    #[n(5)]
    pub split: String,
    /// Endpoint addresses that the initiator cannot take, because others have them.
    #[n(6)]
    pub taken: Vec<Ipv4Addr>,
    /// The link that carries this connection.
    #[n(7)]
    pub link: LinkFacts,
}

/// Answers an [`SvcCreateRequest`]. The responder is ready to receive by its new SPI when it sends this.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SvcCreateReply {
    /// Whether there is one. Without success, nothing but the verdict counts.
    #[n(0)]
    pub verdict: Verdict,
    /// What is agreed.
    #[n(1)]
    pub svc: Option<SvcTerms>,
}

/// What two gateways have agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SvcTerms {
    /// The SVC's name, random, of this responder alone.
    #[n(0)]
    pub svc: u64,
    /// The SPI by which the responder receives.
    #[n(1)]
    pub spi: u32,
    /// The suite of both directions.
    #[n(2)]
    pub suite: String,
    /// The tunnel endpoint of the initiator.
    #[n(3)]
    pub initiator: Ipv4Addr,
    /// The tunnel endpoint of the responder.
    #[n(4)]
    pub responder: Ipv4Addr,
    /// The IVC of this connection.
    #[n(5)]
    pub ivc: u32,
    /// The responder's link of this connection.
    #[n(6)]
    pub link: LinkFacts,
}

/// The initiator receives by its new SPI and sends by the responder's: the responder may send by the new one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeySwitch {
    /// The SVC.
    #[n(0)]
    pub svc: u64,
    /// The responder's new SPI: it names the keys.
    #[n(1)]
    pub spi: u32,
}

/// The responder sends by the new keys: the old ones may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeySwitched {
    /// The SVC.
    #[n(0)]
    pub svc: u64,
    /// The SPI of the [`KeySwitch`].
    #[n(1)]
    pub spi: u32,
}

/// Asks for an address to connect a link to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAddRequest {
    /// The SVC that the link shall join.
    #[n(0)]
    pub svc: u64,
    /// The address of the link.
    #[n(1)]
    pub source: Ipv4Addr,
    /// The link.
    #[n(2)]
    pub link: LinkFacts,
    /// The remote address of an IVC to connect again, its connection being lost; none for another IVC.
    #[n(3)]
    pub again: Option<Ipv4Addr>,
}

/// Answers a [`LinkAddRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAddReply {
    /// Whether there is an address. Without success, nothing but the verdict counts.
    #[n(0)]
    pub verdict: Verdict,
    /// Where to connect to.
    #[n(1)]
    pub target: Option<LinkTarget>,
}

/// The responder's end of an IVC to be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkTarget {
    /// The IVC's number, of this SVC alone.
    #[n(0)]
    pub ivc: u32,
    /// The address to connect to.
    #[n(1)]
    pub address: Ipv4Addr,
    /// The TCP port to connect to.
    #[n(2)]
    pub port: u16,
    /// The link whose address it is.
    #[n(3)]
    pub link: LinkFacts,
}

/// The responder has links that no IVC uses: it is worthwhile to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAvailable {
    /// The SVC.
    #[n(0)]
    pub svc: u64,
}

/// The responder wants new keys made: its operator asks for them, or what it grants is about to be something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyRenew {
    /// The SVC.
    #[n(0)]
    pub svc: u64,
}

/// An IVC is over. Either side may say so, on any connection of the SVC.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkDrop {
    /// The SVC.
    #[n(0)]
    pub svc: u64,
    /// The IVC; none for all of them: the SVC ends.
    #[n(1)]
    pub ivc: Option<u32>,
    /// Why, for people.
    #[n(2)]
    pub reason: String,
}

/// An IVC carries nothing for the moment, or does again. Either side may say so, on any connection of the SVC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkState {
    /// The SVC.
    #[n(0)]
    pub svc: u64,
    /// The IVC.
    #[n(1)]
    pub ivc: u32,
    /// Whether the sender's end of it works.
    #[n(2)]
    pub up: bool,
}

/// Asks for an [`Message::EchoReply`] with the same header id, so that dead connections are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Echo {}

macro_rules! messages {
    ($($number:literal $name:ident($body:ty), $seed:literal;)+) => {
        /// A message between gateways.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = concat!("`", $seed, "`, type ", stringify!($number), ".")] $name($body),)+
        }

        impl Message {
            /// The type in the bundle header.
            #[must_use]
            pub fn number(&self) -> u32 {
                match self { $(Self::$name(_) => $number,)+ }
            }

            /// The name as people write it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $seed,)+ }
            }

            /// Writes the payload.
            pub(super) fn payload(&self) -> Vec<u8> {
                match self {
                    // Encoding into memory cannot fail.
                    $(Self::$name(body) => minicbor::to_vec(body).unwrap_or_default(),)+
                }
            }

            /// Reads a payload; none for a type that is not known.
            pub(super) fn read(number: u32, payload: &[u8]) -> Option<Result<Self, WireError>> {
                match number {
                    $($number => Some(read_payload(number, payload).map(Self::$name)),)+
                    _ => None,
                }
            }
        }
    };
}

messages! {
    1 Hello(Hello), "Hello";
    2 HelloReply(HelloReply), "Hello_Reply";
    3 LinkAuthChallenge(LinkAuthChallenge), "Link_Auth_Challenge";
    4 LinkAuthResponse(LinkAuthResponse), "Link_Auth_Response";
    5 LinkAuthResult(LinkAuthResult), "Link_Auth_Result";
    6 SvcCreateRequest(SvcCreateRequest), "SVC_Create_Request";
    7 SvcCreateReply(SvcCreateReply), "SVC_Create_Reply";
    8 KeySwitch(KeySwitch), "Key_Switch";
    9 KeySwitched(KeySwitched), "Key_Switched";
    10 LinkAddRequest(LinkAddRequest), "Link_Add_Request";
    11 LinkAddReply(LinkAddReply), "Link_Add_Reply";
    12 LinkAvailable(LinkAvailable), "Link_Available";
    13 LinkDrop(LinkDrop), "Link_Drop";
    14 LinkState(LinkState), "Link_State";
    15 Echo(Echo), "Echo";
    16 EchoReply(Echo), "Echo_Reply";
    17 KeyRenew(KeyRenew), "Key_Renew";
}
