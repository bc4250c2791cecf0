//! The stored forms of every kind of key of the store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::fuzzing::stored_keys(data));
