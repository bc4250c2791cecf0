//! Entry points for fuzzers and property tests: each takes any octets and panics where a promise is broken.

use bytes::Bytes;

use crate::index::{IndexBuilder, MessageIndex, PartKind, Section};
use crate::limits::{FACT_BYTES_MAX, Limits, PREVIEW_CHARS_MAX};
use crate::search::{self, LeafSearch, Needle};
use crate::{ObjectKind, cpim, header, imdn, transfer};

/// Indexes `data` whole and in pieces of sizes that the data itself decide, and checks what the index promises.
pub fn fuzz_index(data: &[u8]) {
    let limits = Limits::default();
    let whole = crate::parse(data, &limits);
    check_index(&whole);
    assert_eq!(whole.size(), data.len() as u64);
    assert_eq!(whole.header_len(), header::body_start(data) as u64);
    assert!(whole.encode().len() < 90_000, "stored form fits a value of the store");

    // An xorshift of the data's length and ends: any split must do.
    let mut state =
        data.iter().take(64).fold(data.len() as u64 | 1, |s, b| s.rotate_left(5) ^ u64::from(*b)) | 1;
    for most in [1, 3, 64, 4096] {
        let mut builder = IndexBuilder::new(limits);
        let mut rest = data;
        while !rest.is_empty() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (piece, tail) = rest.split_at((1 + state as usize % most).min(rest.len()));
            builder.push(piece);
            rest = tail;
        }
        assert_eq!(builder.finish(), whole, "pieces of at most {most}");
    }

    for limits in [
        Limits { parts_max: 3, depth_max: 2, ..limits },
        Limits { header_bytes_max: 40, envelope_bytes_max: 64, structure_bytes_max: 200, ..limits },
        Limits {
            parts_max: 0,
            depth_max: 0,
            header_bytes_max: 0,
            envelope_bytes_max: 0,
            structure_bytes_max: 0,
        },
    ] {
        check_index(&crate::parse(data, &limits));
    }

    let needle = Needle::new("é a");
    for part in whole.parts() {
        let body = &data[part.body.start as usize..part.body.end as usize];
        if let Ok(size) = transfer::decoded_size(part.encoding, body) {
            assert!(size <= body.len() as u64, "decoding does not grow");
        }
        let find = |size| {
            let mut search = LeafSearch::new(&part, &needle)?;
            body.chunks(size).any(|piece| search.push(piece));
            Some(search.finish())
        };
        assert_eq!(find(7), find(body.len().max(1)), "a search in pieces is a search");
    }
    if search::body_contains(data, &whole, &needle) {
        assert!(search::text_contains(data, &whole, &needle));
    }
    let block = &data[..whole.header_len() as usize];
    let (with, without) =
        (header::header_fields(block, &["subject"], false), header::header_fields(block, &["subject"], true));
    assert!(with.len() + without.len() <= block.len() + 6, "fields are copied, not made");
    for name in ["subject", "message-id", "contribution-id"] {
        let needle = Needle::new("x");
        if let Some(found) = search::index_contains(&whole, name, &needle) {
            // NUL is shown as another character in an ENVELOPE.
            assert!(found == search::field_contains(block, name, &needle) || block.contains(&0), "{name}");
        }
    }
    if let Ok(imdn) = imdn::parse(data) {
        assert!((1..=FACT_BYTES_MAX).contains(&imdn.message_id.len()), "an id that fits an index");
    }
    if let Ok(message) = cpim::parse(data) {
        assert!(message.body_start() <= data.len());
        let _ = (message.content_type(), message.addresses("To").count());
    }
}

/// Reads `data` as a stored index and asks it everything.
pub fn fuzz_stored(data: &[u8]) {
    if let Ok(index) = MessageIndex::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(index.encode(), data);
        let _ = (index.envelope(), index.bodystructure(), index.body(), index.preview(), index.sent_date());
        let _ = (index.kind(), index.faults(), index.imdn(), index.wrapped_type());
        let _ = (index.base_subject(), index.first_from(), index.first_to(), index.first_cc());
        let _ = (index.references().count(), index.in_reply_to().count(), index.thread_references().count());
        let needle = Needle::new("a");
        for name in ["subject", "to", "contribution-id"] {
            let _ = search::index_contains(&index, name, &needle);
        }
        let _ = (index.part_structure(&[1]), index.part_structure(&[2, 1]), index.part_structure(&[1, 1, 1]));
        check_ranges(&index);
    }
}

/// What holds of every index that a builder made.
fn check_index(index: &MessageIndex) {
    assert_eq!(MessageIndex::decode(index.encode()).as_ref(), Ok(index), "decode ∘ encode is identity");
    check_ranges(index);
    for path in (1..4).flat_map(|n| [vec![n], vec![n, 1], vec![n, 2]]) {
        let structure = index.part_structure(&path);
        assert_eq!(structure.is_some(), index.part(&path).is_some(), "{path:?}");
        check_list(&structure.unwrap_or_default());
    }
    if index.kind() == ObjectKind::Mail {
        assert!(index.faults().is_empty(), "nothing is demanded of mail");
    }
    assert!(index.made_imdn_message_id().is_none_or(|id| id.iter().all(u8::is_ascii_graphic)));
    check_list(&index.envelope());
    check_list(&index.bodystructure());
    check_list(&index.body());
    assert!(index.preview().is_none_or(|preview| preview.chars().count() <= PREVIEW_CHARS_MAX));
}

/// Every range is in the message, and in that of the part around it.
fn check_ranges(index: &MessageIndex) {
    fn descend(index: &MessageIndex, path: &mut Vec<u32>, budget: &mut usize) {
        let around = index.section(path, Section::Body);
        for number in 1.. {
            path.push(number);
            let Some(part) = index.part(path).filter(|_| *budget > 0) else {
                path.pop();
                return;
            };
            *budget -= 1;
            let around = around.clone().unwrap_or(0..index.size());
            assert!(around.start <= part.body.start && part.body.end <= around.end, "{path:?}");
            assert_eq!(part.header.end, part.body.start);
            assert_eq!(index.section(path, Section::Mime), Some(part.header.clone()));
            if part.kind == PartKind::Message {
                let header = index.section(path, Section::Header).unwrap_or_default();
                let text = index.section(path, Section::Text).unwrap_or_default();
                assert_eq!(
                    (header.start, header.end, text.end),
                    (part.body.start, text.start, part.body.end)
                );
            }
            if matches!(part.kind, PartKind::Multipart | PartKind::Message) && path.len() < 8 {
                descend(index, path, budget);
            }
            path.pop();
        }
    }
    let root = index.root();
    assert_eq!((root.header.start, root.body.end), (0, index.size()));
    assert_eq!(index.parts().count(), root.descendants as usize + 1);
    for part in index.parts() {
        assert!(part.body.end <= index.size() && part.lines <= part.body.end - part.body.start);
    }
    descend(index, &mut Vec::new(), &mut 200);
}

/// `answer` is one parenthesised list of IMAP: quoted strings closed, literals as long as they say, no stray octets.
fn check_list(answer: &[u8]) {
    let (mut at, mut depth) = (0, 0);
    while at < answer.len() {
        match answer[at] {
            b'(' => depth += 1,
            b')' => {
                assert!(depth > 0, "closes what is open");
                depth -= 1;
                assert!(depth > 0 || at + 1 == answer.len(), "one list");
            }
            b'"' => {
                at += 1;
                while answer[at] != b'"' {
                    assert!((0x20..0x7f).contains(&answer[at]) || answer[at] == b'\t');
                    at += 1 + usize::from(answer[at] == b'\\');
                }
            }
            b'{' => {
                let digits = answer[at + 1..].iter().take_while(|byte| byte.is_ascii_digit());
                let length = digits.clone().fold(0, |value, digit| value * 10 + usize::from(digit - b'0'));
                at += 1 + digits.count();
                assert_eq!(&answer[at..at + 3], b"}\r\n");
                at += 2 + length;
                assert!(at < answer.len(), "literal is whole");
            }
            byte => {
                assert!(byte == b' ' || byte.is_ascii_digit() || b"NIL".contains(&byte), "{byte:#x} at {at}");
            }
        }
        at += 1;
    }
    assert_eq!(depth, 0, "all is closed");
}
