//! The entry point of the fuzz target, on octets from a random source and on such as reach farther.

use convert::Source;
use convert::fuzzing::conversion;
use proptest::prelude::*;

/// What a header may have that is hard to read.
const WORDS: &[&str] = &[
    "Subject: ",
    "\r\n",
    "\n",
    " ",
    "\t",
    "\r\n ",
    "=?utf-8?q?a=0D=0ABcc:_x?=",
    "=?utf-8?b?DQoNCg==?=",
    "=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=",
    "=?x-none?q?a?=",
    "=?utf-8?q?",
    "?=",
    "\u{e9}",
    "a long text that leaves little room on its line for what comes behind it; ",
];

/// The first octet for a source, with its upper bit.
fn kind(source: Source) -> u8 {
    let of = |kind: &u8| Source::ALL[usize::from(*kind) % Source::ALL.len()] == source;
    (0x80..=u8::MAX).find(of).expect("there are more octets than sources")
}

proptest! {
    #[test]
    fn any_part_is_converted_or_refused(input in prop::collection::vec(any::<u8>(), 0..400)) {
        conversion(&input);
    }

    #[test]
    fn a_header_keeps_its_fields(
        wanted in any::<[u8; 3]>(),
        words in prop::collection::vec(prop::sample::select(WORDS), 0..40),
    ) {
        conversion(&[&[kind(Source::Plain)], &wanted[..], words.concat().as_bytes()].concat());
    }

    #[test]
    fn damaged_pictures_are_read_or_refused(
        wanted in any::<[u8; 6]>(),
        octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        conversion(&[&[kind(Source::Png)], &wanted[..], &octets[..]].concat());
    }
}
