//! Why a packet was dropped. Every drop of the eBPF programs is counted under one of these.

/// The reasons, in the order of the counters' map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Outbound: not an ESP packet; plaintext that missed its policy never leaves.
    TxNotEsp = 0,
    /// Outbound: no SVC leads to the packet's tunnel endpoint.
    TxNoSvc = 1,
    /// Outbound: the SVC has no usable IVC.
    TxNoIvc = 2,
    /// Outbound: it would arrive too late by every usable IVC.
    TxQueueFull = 3,
    /// Outbound: needs more than [`crate::split::MAX_PIECES`] pieces, or does not fit under `whole-only`.
    TxTooBig = 4,
    /// Outbound: already an IP fragment, or a header with options.
    TxMalformed = 5,
    /// Outbound: a helper of the kernel refused to cut or to clone the packet.
    TxHelper = 6,
    /// Inbound: ESP from a pair of addresses that is no IVC.
    RxNoIvc = 7,
    /// Inbound: shorter than its headers say.
    RxTruncated = 8,
    /// Inbound: the IP header's checksum does not hold.
    RxChecksum = 9,
    /// Inbound: IP options, which no gateway sends.
    RxOptions = 10,
    /// Inbound: a fragment whose length no legal fragmentation yields.
    RxBadFragment = 11,
    /// Inbound: a fragment that ends beyond the largest IP packet.
    RxOversized = 12,
    /// Outbound: early, because queues are getting long and the packet's ends do not use ECN.
    TxEarly = 13,
}

impl DropReason {
    /// The number of reasons.
    pub const COUNT: u32 = 14;

    /// Every reason with the label it has in status and metrics.
    pub const ALL: [(Self, &'static str); Self::COUNT as usize] = [
        (Self::TxNotEsp, "tx_not_esp"),
        (Self::TxNoSvc, "tx_no_svc"),
        (Self::TxNoIvc, "tx_no_ivc"),
        (Self::TxQueueFull, "tx_queue_full"),
        (Self::TxTooBig, "tx_too_big"),
        (Self::TxMalformed, "tx_malformed"),
        (Self::TxHelper, "tx_helper"),
        (Self::RxNoIvc, "rx_no_ivc"),
        (Self::RxTruncated, "rx_truncated"),
        (Self::RxChecksum, "rx_checksum"),
        (Self::RxOptions, "rx_options"),
        (Self::RxBadFragment, "rx_bad_fragment"),
        (Self::RxOversized, "rx_oversized"),
        (Self::TxEarly, "tx_early"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_the_map() {
        for (index, (reason, _)) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
