//! The maps. The controller sizes them when it loads the programs and pins all but the scratch space.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use withy_common::{
    classes::{Classes, Search},
    drops::DropReason,
    keepalive::Keepalive,
    maps::{Endpoint, Flows, IvcCounters, IvcKey, IvcRx, Subnet, Svc, SvcState},
    split::Plan,
};

use crate::clone::Noted;

/// `BPF_F_NO_PREALLOC`: entries take memory when they exist.
const NO_PREALLOC: usize = 1;
const DEFAULT_ENTRIES: usize = 4096;

/// SVCs by remote endpoint. The controller writes, `bundle_tx` reads.
#[btf_map]
pub(crate) static SVCS: HashMap<Endpoint, Svc, DEFAULT_ENTRIES, NO_PREALLOC> = HashMap::new();

/// Sequences and virtual clocks by SVC. `bundle_tx` writes.
#[btf_map]
pub(crate) static SVC_STATES: Array<SvcState, DEFAULT_ENTRIES> = Array::new();

/// IVCs by address pair. The controller writes, `link_rx` reads.
#[btf_map]
pub(crate) static IVCS: HashMap<IvcKey, IvcRx, DEFAULT_ENTRIES, NO_PREALLOC> = HashMap::new();

/// Traffic by IVC and CPU. `bundle_tx` and `link_rx` write, the controller reads.
#[btf_map]
pub(crate) static IVC_COUNTERS: PerCpuArray<IvcCounters, DEFAULT_ENTRIES> = PerCpuArray::new();

/// Drops by reason and CPU. All programs write, the controller reads.
#[btf_map]
pub(crate) static DROPS: PerCpuArray<u64, { DropReason::COUNT as usize }> = PerCpuArray::new();

/// The remote subnets. The controller writes, `lan_*` read.
#[btf_map]
pub(crate) static SUBNETS: LpmTrie<u32, Subnet, DEFAULT_ENTRIES> = LpmTrie::new();

/// The classes of tunnels that have any, by SVC. The controller writes, `lan_in` and `bundle_tx` read.
#[btf_map]
pub(crate) static CLASSES: HashMap<u32, Classes, DEFAULT_ENTRIES, NO_PREALLOC> = HashMap::new();

/// How many tunnels have classes: where none has, packets need not be looked at. The controller writes, `lan_in` reads.
#[btf_map]
pub(crate) static CLASSIFIED: Array<u32, 1> = Array::new();

/// What the flows of SVCs have sent whose flows are told apart, by SVC. The controller makes the entries and reads them, `bundle_tx` counts; not pinned.
#[btf_map]
pub(crate) static FLOWS: HashMap<u32, Flows, DEFAULT_ENTRIES, NO_PREALLOC> = HashMap::new();

/// Where a packet's classes are searched; not pinned.
#[btf_map]
pub(crate) static SEARCH: PerCpuArray<Search, 1> = PerCpuArray::new();

/// The clone on its way from `bundle_tx` to itself; not pinned.
#[btf_map]
pub(crate) static CLONE: PerCpuArray<Noted, 1> = PerCpuArray::new();

/// Where `bundle_tx` plans a packet; not pinned.
#[btf_map]
pub(crate) static PLAN: PerCpuArray<Plan, 1> = PerCpuArray::new();

/// Keepalives that came. `link_rx` writes, the controller reads; not pinned.
#[btf_map]
pub(crate) static KEEPALIVES: RingBuf<Keepalive, 65_536> = RingBuf::new();
