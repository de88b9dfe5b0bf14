//! That no packet on its way through Withy's own ESP engine makes it allocate memory.
// A global allocator is unsafe to write; this one only counts.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::Ipv4Addr,
    ops::Range,
    time::Duration,
};

use withy::{
    esp::{HEADROOM, Opener, Sealer, TAILROOM},
    offload::{self, HEADER, Header, Joiner, Kind},
    reconcile::objects::{EspKey, Spi},
    resend::{Again, Ring},
    suite::Suite,
};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator, which is one.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opened packets.
struct Slot(Vec<u8>, Range<usize>);

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

/// A TCP super-packet of 20 segments with what stands before it.
fn super_packet() -> ([u8; HEADER], Vec<u8>) {
    let length = 20 * 1_000_u16;
    let [high, low] = (40 + length).to_be_bytes();
    let mut packet = vec![
        0x45, 0, high, low, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 168, 1, 1, 192, 168, 2, 1, 0, 80, 0,
        99, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ];
    packet.resize(40 + usize::from(length), 7);
    let header = Header {
        kind: Kind::Tcp,
        checksum: Some((20, 16)),
        headers: 40,
        segment: 1_000,
    };
    (header.bytes(), packet)
}

#[test]
fn packets_pass_without_an_allocation() {
    let (from, to) = (Ipv4Addr::new(10, 255, 0, 1), Ipv4Addr::new(10, 255, 0, 2));
    let key = EspKey::new(Suite::AesGcm256, vec![7; 36]).unwrap();
    let spi = Spi::new(0x1001).unwrap();
    let sealer = Sealer::new(from, to, spi, &key).unwrap();
    let opener = Opener::new(from, to, spi, &key, 4_096).unwrap();
    let room = HEADROOM + 65_535 + TAILROOM;
    let mut slots: Vec<_> = (0..64).map(|_| Slot(vec![0; room], 0..0)).collect();
    let mut joiner = Joiner::new(64);
    let mut ring = Ring::new();
    let (header, mut packet) = super_packet();
    let (before, mut number) = (COUNT.get(), 0);
    for _ in 0..100 {
        let header = Header::read(&header).unwrap();
        let cut = offload::take(&header, &mut packet).unwrap().unwrap();
        let count = cut.count();
        for (at, slot) in slots[..count].iter_mut().enumerate() {
            let length = cut.write(at, &mut slot.0[HEADROOM..]).unwrap();
            let total = sealer.seal(&mut slot.0, length).unwrap();
            number += 1;
            ring.keep(number, &slot.0[..total], Duration::ZERO);
            assert!(matches!(
                ring.take(number, Duration::ZERO),
                Again::Goes(_) | Again::Gone
            ));
            slot.1 = opener.open(&mut slot.0[..total]).unwrap();
            std::hint::black_box(offload::kin(slot.as_ref()));
        }
        joiner.plan(&slots, 0..count);
        let [unit] = joiner.units() else {
            panic!("one unit")
        };
        assert_eq!((unit.count(), joiner.rest(unit).count()), (20, 19));
        let first = &mut slots[unit.first()];
        let made = unit.finish(&mut first.0[first.1.clone()], false);
        assert_eq!(made.segment, 1_000);
    }
    assert_eq!(COUNT.get() - before, 0);
    // The allocator does count.
    drop(std::hint::black_box(Box::new(1)));
    assert!(COUNT.get() > before);
}
