//! Commands as strangers send them, cut at any place.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imap_wire::fuzzing::fuzz_reader(data));
