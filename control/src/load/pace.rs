//! How much may be sent now.

use withy_common::{
    maps::{MAX_IVCS, Svc},
    schedule::{cost, start},
};

/// How long the queue on an IVC is at most before a packet, in nanoseconds; or else so many packets. What the links carry may not be known yet, and then
/// they are given several times as much as they carry until that shows.
const LONGEST: u64 = 40_000_000;
const FEW: u64 = 2;

/// How many packets of `len` bytes, at most `most`, the scheduler may be given so that it has none arrive later than `limit`
/// nanoseconds from `now`, where its clocks stand so.
pub(crate) fn room(
    svc: &Svc,
    mut clocks: [u64; MAX_IVCS],
    now: u64,
    (len, limit): (u16, u64),
    most: usize,
) -> usize {
    let mut count = 0;
    while count < most {
        let usable = (0..MAX_IVCS).filter(|slot| svc.ivcs[*slot].mtu >= u32::from(len));
        let arrivals = usable.filter_map(|slot| {
            let ivc = &svc.ivcs[slot];
            let queue = start(ivc, clocks[slot], now);
            let cost = cost(ivc, len);
            let end = queue.saturating_add(cost);
            (ivc.bears(queue) && queue <= LONGEST.max(FEW * cost)).then_some((
                end.saturating_add(ivc.latency_ns),
                end,
                slot,
            ))
        });
        let Some((_, end, slot)) = arrivals.min().filter(|(arrival, ..)| *arrival <= limit) else {
            break;
        };
        clocks[slot] = now.wrapping_sub(svc.ivcs[slot].shift_ns).wrapping_add(end);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use withy_common::maps::{Ivc, Split};

    use super::*;

    const NOW: u64 = 7_000_000_000;
    const LEN: u16 = 1_000;

    /// IVCs of so many Mbit/s, with latencies in milliseconds.
    fn svc(links: &[(u64, u64)]) -> Svc {
        let mut ivcs = [Ivc::default(); MAX_IVCS];
        for (ivc, (mbit, latency)) in ivcs.iter_mut().zip(links) {
            let (byte_time, rate) = Ivc::pace(mbit * 1_000_000);
            *ivc = Ivc {
                mtu: 1500,
                byte_time,
                rate,
                latency_ns: latency * 1_000_000,
                ..Ivc::default()
            };
        }
        Svc::new(1, 0, Split::Mtu, 0, ivcs)
    }

    fn count(svc: &Svc, ahead: i64, limit_ms: u64) -> usize {
        let clocks = [NOW.wrapping_add_signed(ahead); MAX_IVCS];
        room(svc, clocks, NOW, (LEN, limit_ms * 1_000_000), 1_000)
    }

    #[test]
    fn as_much_is_sent_as_arrives_in_time() {
        // A packet takes a millisecond.
        assert_eq!(count(&svc(&[(8, 0)]), 0, 25), 25);
        assert_eq!(count(&svc(&[(8, 0)]), 20_000_000, 25), 5);
        assert_eq!(count(&svc(&[(8, 0)]), 30_000_000, 25), 0);
        // What has been idle has no more room.
        assert_eq!(count(&svc(&[(8, 0)]), -90_000_000, 25), 25);
        assert_eq!(count(&svc(&[(8, 0), (16, 10), (8, 100)]), 0, 25), 25 + 30);
        assert_eq!(count(&svc(&[]), 0, 25), 0);
        assert_eq!(count(&svc(&[(8_000, 0)]), 0, 25), 1_000);
    }

    #[test]
    fn no_link_is_given_more_than_its_queue_bears() {
        let mut svc = svc(&[(8, 0), (8, 20)]);
        assert_eq!(count(&svc, 0, 60), 41 + 40);
        svc.ivcs[0].most_ns = 19_500_000;
        assert_eq!(count(&svc, 0, 60), 20 + 40);
        assert_eq!(count(&svc, 30_000_000, 60), 10);
        svc.ivcs[0].byte_time *= 80;
        svc.ivcs[0].most_ns = 0;
        assert_eq!(count(&svc, 0, 400), 3 + 41);
    }

    #[test]
    fn a_clock_that_is_wrong_is_set_right() {
        let mut svc = svc(&[(8, 0)]);
        svc.ivcs[0].shift_ns = (-10_000_000_i64).cast_unsigned();
        assert_eq!(count(&svc, 20_000_000, 25), 15);
    }
}
