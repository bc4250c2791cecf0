//! The stored form of a message's facts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cpm_mime::fuzzing::fuzz_stored(data));
