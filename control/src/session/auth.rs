//! The response to a `Link_Auth_Challenge`.

use std::net::Ipv4Addr;

use aws_lc_rs::hmac;

use super::ConnectionSecret;

/// What the response proves.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// The connection on which it is made.
    pub(super) connection: &'a ConnectionSecret,
    /// The SVC and IVC that the connection joins; zeros where it makes or renews an SVC.
    pub(super) join: (u64, u32),
    /// The challenge.
    pub(super) nonce: [u8; 32],
    /// The initiator's address.
    pub(super) source: Ipv4Addr,
    /// The responder's address.
    pub(super) destination: Ipv4Addr,
}

impl Claim<'_> {
    /// Computes the response. Whoever joins an SVC proves by its secret that it is the one that made it.
    pub(super) fn prove(&self, svc: Option<&[u8; 32]>) -> [u8; 32] {
        let tag = hmac::sign(&self.key(svc), &self.text());
        let mut mac = [0; 32];
        mac.copy_from_slice(tag.as_ref());
        mac
    }

    /// Tells whether a response is right, in constant time.
    pub(super) fn verify(&self, svc: Option<&[u8; 32]>, mac: &[u8; 32]) -> bool {
        hmac::verify(&self.key(svc), &self.text(), mac).is_ok()
    }

    fn key(&self, svc: Option<&[u8; 32]>) -> hmac::Key {
        let own;
        let secret = if let Some(secret) = svc {
            secret
        } else {
            own = self.connection.svc();
            &own
        };
        hmac::Key::new(hmac::HMAC_SHA256, secret)
    }

    fn text(&self) -> Vec<u8> {
        [
            b"withy link authentication 1".as_slice(),
            &self.nonce,
            &self.join.0.to_be_bytes(),
            &self.join.1.to_be_bytes(),
            self.connection.binding().as_ref(),
            &self.source.octets(),
            &self.destination.octets(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_proof_is_good_for_one_claim_only() {
        let secrets = [1, 2].map(|byte| ConnectionSecret::new(Zeroizing::new([byte; 32])));
        let claim = |connection, join, nonce, last| Claim {
            connection,
            join,
            nonce: [nonce; 32],
            source: Ipv4Addr::new(192, 0, 2, last),
            destination: Ipv4Addr::new(198, 51, 100, 1),
        };
        let good = claim(&secrets[0], (5, 6), 3, 1);
        let mac = good.prove(Some(&[9; 32]));
        assert!(good.verify(Some(&[9; 32]), &mac));
        assert!(!good.verify(Some(&[8; 32]), &mac));
        assert!(!good.verify(None, &mac));
        for other in [
            claim(&secrets[1], (5, 6), 3, 1),
            claim(&secrets[0], (4, 6), 3, 1),
            claim(&secrets[0], (5, 7), 3, 1),
            claim(&secrets[0], (5, 6), 4, 1),
            claim(&secrets[0], (5, 6), 3, 2),
        ] {
            assert!(!other.verify(Some(&[9; 32]), &mac), "{other:?}");
        }
    }
}
