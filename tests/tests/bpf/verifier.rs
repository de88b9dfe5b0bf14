//! What the kernel's verifier makes of the programs.

use aya::programs::Program;
use withy::dataplane::Hook;
use withy_common::maps::Split;

use crate::rig::Rig;

/// The verifier gives up after a million instructions. Kernels differ in how many ways they follow,
/// so the programs keep well below.
const BOUND: u32 = 400_000;

#[test]
fn the_verifier_is_far_from_its_limit() {
    let rig = Rig::new(&[], Split::Mtu);
    for name in Hook::PROGRAMS {
        let info = match rig.dataplane.program(name).unwrap() {
            Program::Xdp(program) => program.info(),
            Program::SchedClassifier(program) => program.info(),
            other => panic!("{other:?} is of no known type"),
        };
        let count = info.unwrap().verified_instruction_count().unwrap();
        println!("{name}: {count} instructions verified");
        assert!(count < BOUND, "{name}: {count}");
    }
}
