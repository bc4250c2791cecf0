//! IMAP URLs, as GENURLAUTH, URLFETCH and CATENATE take them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imap_wire::fuzzing::fuzz_url(data));
