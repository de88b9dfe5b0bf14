//! Fuzz target: any bytes as what one ESP engine tells the other of packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::word::run(bytes));
