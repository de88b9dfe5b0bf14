//! SPIs and keys of all SAs.

use super::links::repeated;
use crate::config::{
    draft::{ConfigDraft, SaDraft, SecurityDraft, TunnelDraft},
    key::KeyMaterial,
    sink::{At, Sink},
};

pub(super) fn check(draft: &ConfigDraft, sink: &mut Sink) {
    let all: Vec<&SecurityDraft> = draft
        .tunnels
        .iter()
        .filter_map(TunnelDraft::manual)
        .collect();
    let mut sas: Vec<&SaDraft> = all
        .iter()
        .flat_map(|security| [&security.outbound, &security.inbound])
        .flatten()
        .collect();
    sas.sort_by_key(|sa| sa.key_file.as_ref().map(|file| file.at.position));
    shared_keys(&sas, sink);
    sas.sort_by_key(|sa| sa.spi.as_ref().map(|spi| spi.at.position));
    let spis = sas
        .iter()
        .filter_map(|sa| sa.spi.as_ref())
        .map(|spi| (spi.value, &spi.at));
    for ((spi, at), first) in repeated(spis) {
        let message = format!("SPI {spi} is used already, by {first}");
        sink.error(at, message, "give each SA an SPI of its own");
    }
    for security in all {
        nonces(security, sink);
    }
}

/// Two SAs with one key would use nonces or initialisation vectors twice.
fn shared_keys(sas: &[&SaDraft], sink: &mut Sink) {
    let keys: Vec<(&KeyMaterial, &At)> = sas
        .iter()
        .filter_map(|sa| Some((sa.key.as_ref()?, &sa.key_file.as_ref()?.at)))
        .collect();
    for (index, (key, at)) in keys.iter().enumerate() {
        let first = keys[..index]
            .iter()
            .find(|(earlier, _)| earlier.shares_key_with(key));
        if let Some((_, first)) = first {
            let message = format!("the same key as {}", first.field);
            sink.error(at, message, "make a random key for each SA");
        }
    }
}

/// Sequence numbers, and with them the nonces of the AEADs, start again from 1 with each new SA.
fn nonces(security: &SecurityDraft, sink: &mut Sink) {
    let Some(suite) = &security.suite else { return };
    if suite.value.is_aead() {
        let message = format!(
            "{} with manual keys repeats its nonces when the SA is made again with the same key, \
             as after `withy down` or a reboot, and a repeated nonce betrays traffic and the \
             integrity key",
            suite.value
        );
        let help = "put new keys on both gateways before each such start, or take \
                    aes-cbc-256-hmac-sha-256";
        sink.warning(&suite.at, message, help);
    }
}
