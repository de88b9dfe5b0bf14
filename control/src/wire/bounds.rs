//! How much a message may hold. A reader refuses what is beyond, so that no peer decides how much others allocate, compare
//! and print.

use super::{
    message::{LinkDrop, LinkFacts, Message, Subnet, SvcCreateRequest, SvcTerms},
    verdict::Verdict,
};

/// The longest text in bytes: names, suites, policies, reasons.
pub const MAX_TEXT: usize = 200;
/// The longest detail of a [`Verdict`] in bytes.
pub const MAX_DETAIL: usize = 500;
/// The most subnets in one list.
pub const MAX_SUBNETS: usize = 64;
/// The most suites in a request.
pub const MAX_SUITES: usize = 16;
/// The most endpoint addresses that a request names as taken.
pub const MAX_TAKEN: usize = 64;
/// The longest prefix of a subnet in bits.
pub const MAX_PREFIX: usize = 32;

/// A message that holds too much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found}, and {limit} at most are possible")]
pub struct Excess {
    /// Of what: what is counted, and the field.
    pub what: &'static str,
    /// How much there is.
    pub found: usize,
    /// How much there may be.
    pub limit: usize,
}

type Checked = Result<(), Excess>;

impl Message {
    /// Checks that a reader takes this message.
    ///
    /// # Errors
    ///
    /// Returns the first field that holds too much.
    pub fn check(&self) -> Checked {
        match self {
            Self::Hello(hello) => text("bytes of `gateway`", &hello.gateway),
            Self::HelloReply(reply) => {
                verdict(&reply.verdict)?;
                text("bytes of `gateway`", &reply.gateway)
            }
            Self::LinkAuthResult(result) => verdict(&result.verdict),
            Self::SvcCreateRequest(request) => svc_create_request(request),
            Self::SvcCreateReply(reply) => {
                verdict(&reply.verdict)?;
                reply.svc.as_ref().map_or(Ok(()), terms)
            }
            Self::LinkAddRequest(request) => link(&request.link),
            Self::LinkAddReply(reply) => {
                verdict(&reply.verdict)?;
                let target = reply.target.as_ref();
                target.map_or(Ok(()), |target| link(&target.link))
            }
            Self::LinkDrop(drop) => text("bytes of `reason`", &drop.reason),
            Self::LinkAuthChallenge(_)
            | Self::LinkAuthResponse(_)
            | Self::KeySwitch(_)
            | Self::KeySwitched(_)
            | Self::LinkAvailable(_)
            | Self::KeyRenew(_)
            | Self::LinkState(_)
            | Self::Echo(_)
            | Self::EchoReply(_) => Ok(()),
        }
    }
}

impl LinkDrop {
    /// Says that an IVC, or with none the SVC, is over. Of the reason, the other side gets to see the first [`MAX_TEXT`]
    /// bytes.
    #[must_use]
    pub fn new(svc: u64, ivc: Option<u32>, reason: &str) -> Self {
        Self {
            svc,
            ivc,
            reason: cut(reason.to_owned(), MAX_TEXT),
        }
    }
}

/// Cuts a text to a number of bytes, between characters.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

fn svc_create_request(request: &SvcCreateRequest) -> Checked {
    at_most("entries of `suites`", request.suites.len(), MAX_SUITES)?;
    for suite in &request.suites {
        text("bytes of a suite", suite)?;
    }
    subnets("entries of `initiator_subnets`", &request.initiator_subnets)?;
    subnets("entries of `responder_subnets`", &request.responder_subnets)?;
    text("bytes of `split`", &request.split)?;
    at_most("entries of `taken`", request.taken.len(), MAX_TAKEN)?;
    link(&request.link)
}

fn subnets(what: &'static str, subnets: &[Subnet]) -> Checked {
    at_most(what, subnets.len(), MAX_SUBNETS)?;
    subnets
        .iter()
        .try_for_each(|subnet| at_most("bits of a prefix", subnet.prefix.into(), MAX_PREFIX))
}

fn terms(terms: &SvcTerms) -> Checked {
    text("bytes of `suite`", &terms.suite)?;
    link(&terms.link)
}

fn link(link: &LinkFacts) -> Checked {
    text("bytes of a link's name", &link.name)
}

fn verdict(verdict: &Verdict) -> Checked {
    let detail = verdict.detail().unwrap_or_default();
    at_most("bytes of a verdict's detail", detail.len(), MAX_DETAIL)
}

fn text(what: &'static str, text: &str) -> Checked {
    at_most(what, text.len(), MAX_TEXT)
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Checked {
    if found <= limit {
        return Ok(());
    }
    Err(Excess { what, found, limit })
}
