//! What the kernel's network configuration should be, what it is, and the way from one to the
//! other.
//!
//! ```text
//!  modules of the daemon ──► Desired ─┐
//!                                     ├─► diff ──► steps ──► Reconciler ──► kernel
//!  kernel ──► observe ────► Observed ─┘                          │
//!     ▲                                                          │
//!     └──────────────────────────────────────────────────────────┘
//! ```
//!
//! [`diff`] is a pure function. Starting, reloading, repairing and recovering from a crash are all
//! the same call of [`Reconciler::reconcile`]; taking everything down is the same call with
//! [`Desired::empty`].
//!
//! Only what bears Withy's mark is ever changed or removed: the bundle device its Ethernet address,
//! routes, rules and addresses the number [`objects::PROTOCOL`], associations and policies a reqid
//! of [`objects::ReqId`], queueing disciplines a handle of [`objects::Pacer`], settings an entry in the record of their former
//! values.

mod desired;
mod diff;
mod key;
#[cfg(test)]
mod model;
pub mod objects;
mod observed;
mod reconciler;
mod step;

pub use desired::{Contradiction, Desired};
pub use diff::diff;
pub use key::Key;
pub use observed::{
    BundleEnd, Observed, Seen, SeenAssociation, SeenBundle, SeenKey, SeenPacer, SeenSysctl, Verdict,
};
pub use reconciler::{Failure, Outcome, ReconcileError, Reconciler, StepError};
pub use step::Step;
