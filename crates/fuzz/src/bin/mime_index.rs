//! Messages as strangers send them: index, sections, search, previews.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cpm_mime::fuzzing::fuzz_index(data));
