//! Fuzz target: any bytes, in any parts, to the decoder of the control protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::wire_decoder::run(bytes));
