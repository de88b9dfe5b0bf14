//! Explicit congestion notification through a tunnel (RFC 6040).

use super::refused::Refused;

/// The two bits of ECN in the octet that they share with the DSCP.
const MASK: u8 = 3;
/// Not capable of ECN.
const NOT_ECT: u8 = 0;
/// Capable, by the codepoint whose meaning is an experiment's.
const ECT1: u8 = 1;
/// Congestion was experienced.
const CE: u8 = 3;

/// The octet of DSCP and ECN of the outer header, from the inner one's: both are copied (section 4.1, normal mode).
///
/// The kernel copies the DSCP unless it is told otherwise, and Withy does not tell it.
pub(super) const fn encapsulate(inner: u8) -> u8 {
    inner
}

/// The inner header's octet behind the tunnel: its own DSCP, and ECN by the table of section 4.2.
pub(super) fn decapsulate(outer: u8, inner: u8) -> Result<u8, Refused> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => Err(Refused::Congestion),
        (NOT_ECT | CE, _) => Ok(inner),
        (_, marked @ (ECT1 | CE)) => Ok(inner & !MASK | marked),
        _ => Ok(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_rfc_6040() {
        // Figure 4: rows by inner, columns by outer: Not-ECT, ECT(0), ECT(1), CE. ECT(0) is 2.
        let rows = [
            (0, [Ok(0), Ok(0), Ok(0), Err(Refused::Congestion)]),
            (2, [Ok(2), Ok(2), Ok(1), Ok(3)]),
            (1, [Ok(1), Ok(1), Ok(1), Ok(3)]),
            (3, [Ok(3), Ok(3), Ok(3), Ok(3)]),
        ];
        for (inner, row) in rows {
            for (outer, expected) in [0, 2, 1, 3].into_iter().zip(row) {
                // The inner DSCP stays, whatever the outer one is.
                let found = decapsulate(0x48 | outer, 0xb8 | inner);
                assert_eq!(
                    found,
                    expected.map(|ecn| 0xb8 | ecn),
                    "inner {inner} outer {outer}"
                );
            }
        }
    }

    #[test]
    fn what_goes_in_unmarked_comes_out_as_it_was() {
        for octet in 0..=u8::MAX {
            assert_eq!(
                decapsulate(encapsulate(octet), octet),
                Ok(octet),
                "{octet:#x}"
            );
        }
    }
}
