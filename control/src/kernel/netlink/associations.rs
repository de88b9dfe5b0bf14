use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_xfrm::{
    Address, Alg, AlgAead, AlgAuth, EncapTmpl, IPPROTO_ESP, ReplayEsn, UDP_ENCAP_ESPINUDP,
    UserSaInfo, XFRM_ALG_NAME_LEN, XFRM_MODE_TUNNEL, XFRM_STATE_ESN, XFRM_STATE_NOPMTUDISC,
    XfrmAttrs, XfrmMessage,
    constants::AF_INET,
    state::{DelGetMessage, GetDumpMessage, ModifyMessage},
};
use withy_common::label::MARK_MASK;
use zeroize::Zeroize;

use super::{Netlink, NetlinkError, gone};
use crate::{
    api::status::SaUsage,
    reconcile::{
        SeenAssociation, SeenKey,
        objects::{
            Direction, EspKey, Inbound, Outbound, Position, ReplayWindow, ReqId,
            SecurityAssociation, Spi, Suite,
        },
    },
};

/// The check value of all suites, in bits.
const CHECK_VALUE_BITS: u32 = 128;
/// Source and destination port of ESP in UDP (RFC 3948). The program at the bundle device takes
/// the UDP header off, so these are never seen outside.
const ENCAPSULATION_PORT: u16 = 4500;
/// The window given to associations that receive nothing: 64-bit sequence numbers come only with
/// one (`xfrm_init_replay`), unless the direction is told, which kernels before 6.10 cannot be.
const WINDOW_OF_OUTBOUND: u32 = 32;
const REPLAY_WORD_BITS: u32 = u32::BITS;

/// The kernel's names for algorithms.
const AES_GCM: &str = "rfc4106(gcm(aes))";
const CHACHA20_POLY1305: &str = "rfc7539esp(chacha20,poly1305)";
const AES_CBC: &str = "cbc(aes)";
const HMAC_SHA256: &str = "hmac(sha256)";

/// The bits of a packet's mark that end with its encryption; the others say what the packet is taken for.
const CLEARED: u32 = !MARK_MASK;

impl Netlink {
    /// Reads Withy's security associations.
    pub(crate) async fn associations(
        &self,
    ) -> Result<Vec<((Ipv4Addr, Spi), SeenAssociation)>, NetlinkError> {
        let request = GetDumpMessage {
            nlas: vec![XfrmAttrs::Proto(IPPROTO_ESP)],
        };
        let request = XfrmMessage::GetDumpSa(request);
        let answer = self
            .dump_xfrm("list security associations", request)
            .await?;
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                XfrmMessage::AddSa(state) => read_association(state),
                _ => None,
            })
            .collect())
    }

    /// Makes a security association whose last packet had the given sequence numbers; those of a
    /// new key are zero.
    ///
    /// # Errors
    ///
    /// There is one with the same destination and SPI, the kernel lacks ESP or an algorithm, or
    /// refuses for another reason.
    pub async fn add_association(
        &self,
        association: &SecurityAssociation,
        position: Position,
    ) -> Result<(), NetlinkError> {
        let message = XfrmMessage::AddSa(write_association(association, position));
        self.execute_xfrm("add a security association", message)
            .await
    }

    /// Removes a security association. That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub async fn remove_association(
        &self,
        destination: Ipv4Addr,
        spi: Spi,
    ) -> Result<(), NetlinkError> {
        let mut message = DelGetMessage::default();
        message.user_sa_id.destination(&IpAddr::V4(destination));
        message.user_sa_id.spi = spi.get();
        message.user_sa_id.proto = IPPROTO_ESP;
        let message = XfrmMessage::DeleteSa(message);
        gone(
            self.execute_xfrm("remove a security association", message)
                .await,
        )
    }
}

fn write_association(association: &SecurityAssociation, position: Position) -> ModifyMessage {
    let mut info = UserSaInfo::default();
    info.source(&IpAddr::V4(association.source));
    info.destination(&IpAddr::V4(association.destination));
    info.id.spi = association.spi.get();
    info.id.proto = IPPROTO_ESP;
    info.selector.family = AF_INET;
    info.mode = XFRM_MODE_TUNNEL;
    info.reqid = association.reqid.to_kernel();
    info.flags = XFRM_STATE_ESN;

    let mut nlas = write_key(&association.key);
    let window = match association.direction {
        Direction::Out(outbound) => {
            if !outbound.path_mtu_discovery {
                info.flags |= XFRM_STATE_NOPMTUDISC;
            }
            if outbound.udp_encapsulation {
                nlas.push(XfrmAttrs::EncapsulationTemplate(EncapTmpl {
                    encap_type: UDP_ENCAP_ESPINUDP,
                    encap_sport: ENCAPSULATION_PORT,
                    encap_dport: ENCAPSULATION_PORT,
                    encap_oa: Address::default(),
                }));
            }
            nlas.push(XfrmAttrs::MarkVal(0));
            nlas.push(XfrmAttrs::MarkMask(CLEARED));
            WINDOW_OF_OUTBOUND
        }
        Direction::In(inbound) => inbound.replay_window.packets(),
    };
    nlas.push(XfrmAttrs::ReplayStateEsn(write_replay_state(
        window, position,
    )));
    ModifyMessage {
        user_sa_info: info,
        nlas,
    }
}

fn write_key(key: &EspKey) -> Vec<XfrmAttrs> {
    let aead = |algorithm| {
        vec![XfrmAttrs::EncryptionAlgAead(AlgAead {
            alg_name: padded(algorithm),
            alg_key_len: bits(key.cipher()),
            alg_icv_len: CHECK_VALUE_BITS,
            alg_key: key.cipher().to_vec(),
        })]
    };
    match key.authentication() {
        None if key.suite() == Suite::ChaCha20Poly1305 => aead(CHACHA20_POLY1305),
        None => aead(AES_GCM),
        Some(authentication) => vec![
            XfrmAttrs::EncryptionAlg(Alg {
                alg_name: padded(AES_CBC),
                alg_key_len: bits(key.cipher()),
                alg_key: key.cipher().to_vec(),
            }),
            XfrmAttrs::AuthenticationAlgTrunc(AlgAuth {
                alg_name: padded(HMAC_SHA256),
                alg_key_len: bits(authentication),
                alg_trunc_len: CHECK_VALUE_BITS,
                alg_key: authentication.to_vec(),
            }),
        ],
    }
}

/// Writes the sequence numbers. Everything up to the last packet received counts as seen.
fn write_replay_state(window: u32, position: Position) -> ReplayEsn {
    let words = window.div_ceil(REPLAY_WORD_BITS);
    let seen = if position.received == 0 { 0 } else { u32::MAX };
    let (oseq_hi, oseq) = halves(position.sent);
    let (seq_hi, seq) = halves(position.received);
    ReplayEsn {
        bmp_len: words,
        oseq,
        seq,
        oseq_hi,
        seq_hi,
        replay_window: window,
        bmp: vec![seen; words as usize],
    }
}

fn read_association(state: ModifyMessage) -> Option<((Ipv4Addr, Spi), SeenAssociation)> {
    let info = state.user_sa_info;
    let reqid = ReqId::from_kernel(info.reqid)?;
    if info.family != AF_INET || info.id.proto != IPPROTO_ESP {
        return None;
    }
    let spi = Spi::new(info.id.spi).ok()?;
    let attributes = Attributes::read(state.nlas);
    let replay = attributes.replay.as_ref();
    let position = replay.map_or_else(Position::default, |replay| Position {
        sent: u64::from(replay.oseq_hi) << 32 | u64::from(replay.oseq),
        received: u64::from(replay.seq_hi) << 32 | u64::from(replay.seq),
    });
    let seen = SeenAssociation {
        source: info.saddr.to_ipv4(),
        reqid,
        direction: read_direction(&info, &attributes),
        key: read_key(attributes),
        position,
        usage: SaUsage {
            since: Some(info.lifetime_cur.add_time),
            packets: info.lifetime_cur.packets,
            bytes: info.lifetime_cur.bytes,
        },
    };
    Some(((info.id.daddr.to_ipv4(), spi), seen))
}

/// The attributes of a security association.
#[derive(Default)]
struct Attributes {
    aead: Option<AlgAead>,
    cipher: Option<Alg>,
    authentication: Option<AlgAuth>,
    encapsulation: Option<EncapTmpl>,
    mark: Option<(u32, u32)>,
    replay: Option<ReplayEsn>,
    offloaded: bool,
}

impl Attributes {
    fn read(nlas: Vec<XfrmAttrs>) -> Self {
        let mut attributes = Self::default();
        let (mut mark_value, mut mark_mask) = (None, None);
        for attribute in nlas {
            match attribute {
                XfrmAttrs::EncryptionAlgAead(aead) => attributes.aead = Some(aead),
                XfrmAttrs::EncryptionAlg(cipher) => attributes.cipher = Some(cipher),
                XfrmAttrs::AuthenticationAlgTrunc(alg) => attributes.authentication = Some(alg),
                // The same once more in an older form.
                XfrmAttrs::AuthenticationAlg(mut alg) => alg.alg_key.zeroize(),
                XfrmAttrs::EncapsulationTemplate(encap) => attributes.encapsulation = Some(encap),
                XfrmAttrs::ReplayStateEsn(replay) => attributes.replay = Some(replay),
                XfrmAttrs::MarkVal(value) => mark_value = Some(value),
                XfrmAttrs::MarkMask(value) => mark_mask = Some(value),
                XfrmAttrs::OffloadDevice(_) => attributes.offloaded = true,
                _ => {}
            }
        }
        attributes.mark = mark_value.zip(mark_mask);
        attributes
    }
}

/// Reads the direction; none where anything is other than Withy makes it.
fn read_direction(info: &UserSaInfo, attributes: &Attributes) -> Option<Direction> {
    let replay = attributes.replay.as_ref()?;
    let unknown_flags = info.flags & !(XFRM_STATE_ESN | XFRM_STATE_NOPMTUDISC) != 0;
    if unknown_flags
        || info.flags & XFRM_STATE_ESN == 0
        || info.mode != XFRM_MODE_TUNNEL
        || attributes.offloaded
    {
        return None;
    }
    let path_mtu_discovery = info.flags & XFRM_STATE_NOPMTUDISC == 0;
    match (attributes.mark, attributes.encapsulation) {
        (Some((0, CLEARED)), encapsulation) => {
            let udp_encapsulation = match encapsulation {
                None => false,
                Some(EncapTmpl {
                    encap_type: UDP_ENCAP_ESPINUDP,
                    encap_sport: ENCAPSULATION_PORT,
                    encap_dport: ENCAPSULATION_PORT,
                    ..
                }) => true,
                Some(_) => return None,
            };
            (replay.replay_window == WINDOW_OF_OUTBOUND).then_some(Direction::Out(Outbound {
                udp_encapsulation,
                path_mtu_discovery,
            }))
        }
        (None, None) if path_mtu_discovery => {
            let replay_window = ReplayWindow::new(replay.replay_window).ok()?;
            Some(Direction::In(Inbound { replay_window }))
        }
        _ => None,
    }
}

fn read_key(attributes: Attributes) -> SeenKey {
    let (suite, material) = match attributes {
        Attributes {
            aead: Some(aead),
            cipher: None,
            authentication: None,
            ..
        } => {
            let length = aead.alg_key.len();
            let suite = match (name(&aead.alg_name), length, aead.alg_icv_len) {
                (AES_GCM, 20, CHECK_VALUE_BITS) => Suite::AesGcm128,
                (AES_GCM, 36, CHECK_VALUE_BITS) => Suite::AesGcm256,
                (CHACHA20_POLY1305, 36, CHECK_VALUE_BITS) => Suite::ChaCha20Poly1305,
                _ => return SeenKey::Unknown,
            };
            (suite, aead.alg_key)
        }
        Attributes {
            aead: None,
            cipher: Some(mut cipher),
            authentication: Some(mut auth),
            ..
        } => {
            let names = (name(&cipher.alg_name), name(&auth.alg_name));
            let suite = match (names, cipher.alg_key.len(), auth.alg_trunc_len) {
                ((AES_CBC, HMAC_SHA256), 16, CHECK_VALUE_BITS) => Suite::AesCbc128HmacSha256,
                ((AES_CBC, HMAC_SHA256), 32, CHECK_VALUE_BITS) => Suite::AesCbc256HmacSha256,
                _ => return SeenKey::Unknown,
            };
            let material = [cipher.alg_key.as_slice(), auth.alg_key.as_slice()].concat();
            cipher.alg_key.zeroize();
            auth.alg_key.zeroize();
            (suite, material)
        }
        _ => return SeenKey::Unknown,
    };
    match EspKey::new(suite, material) {
        Ok(key) if key.is_withheld() => SeenKey::Withheld(suite),
        Ok(key) => SeenKey::Known(key),
        Err(_) => SeenKey::Unknown,
    }
}

/// Clears the keys in a message that was sent.
pub(super) fn clear_keys(message: &mut XfrmMessage) {
    let XfrmMessage::AddSa(state) = message else {
        return;
    };
    for attribute in &mut state.nlas {
        match attribute {
            XfrmAttrs::EncryptionAlgAead(alg) => alg.alg_key.zeroize(),
            XfrmAttrs::EncryptionAlg(alg) => alg.alg_key.zeroize(),
            XfrmAttrs::AuthenticationAlgTrunc(alg) => alg.alg_key.zeroize(),
            _ => {}
        }
    }
}

/// Fills a name up with zeros.
fn padded(name: &str) -> [u8; XFRM_ALG_NAME_LEN] {
    let mut field = [0; XFRM_ALG_NAME_LEN];
    for (to, from) in field.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    field
}

/// Takes the zeros off a name; a name that is no text is no known one.
fn name(field: &[u8]) -> &str {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).unwrap_or_default()
}

/// A key's length as the kernel wants it.
fn bits(key: &[u8]) -> u32 {
    // No suite's key is longer than 64 bytes.
    u32::try_from(key.len() * 8).unwrap_or(u32::MAX)
}

fn halves(number: u64) -> (u32, u32) {
    // Casts that keep the half that is meant.
    #[allow(clippy::cast_possible_truncation)]
    ((number >> 32) as u32, number as u32)
}
