//! Parts as strangers send them: text and headers in another charset, pictures made smaller.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| convert::fuzzing::conversion(data));
