//! How much may be sent now.

use withy_common::{
    maps::{MAX_IVCS, Svc},
    schedule::{cost, start},
};

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
        let arrivals = usable.map(|slot| {
            let ivc = &svc.ivcs[slot];
            let end = start(ivc, clocks[slot], now).saturating_add(cost(ivc, len));
            (end.saturating_add(ivc.latency_ns), end, slot)
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
    fn a_clock_that_is_wrong_is_set_right() {
        let mut svc = svc(&[(8, 0)]);
        svc.ivcs[0].shift_ns = (-10_000_000_i64).cast_unsigned();
        assert_eq!(count(&svc, 20_000_000, 25), 15);
    }
}
