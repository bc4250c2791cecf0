//! Corpora of messages against what others make of them: Python's email package (oracle/corpus.py) and Dovecot
//! (oracle/dovecot.py).

use cpm_mime::address::{Element, elements};
use cpm_mime::search::{Needle, index_contains};
use cpm_mime::{Limits, MessageIndex, PartKind, Section, header, parse};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Numbers of all leaves, as IMAP numbers them, in document order.
fn leaves(index: &MessageIndex, path: &mut Vec<u32>, out: &mut Vec<Vec<u32>>) {
    for number in 1.. {
        path.push(number);
        let Some(part) = index.part(path) else {
            path.pop();
            return;
        };
        match part.kind {
            PartKind::Multipart | PartKind::Message => leaves(index, path, out),
            PartKind::Text | PartKind::Other => out.push(path.clone()),
        }
        path.pop();
    }
}

#[test]
fn python_reads_the_corpus_alike() {
    let mut message = Vec::new();
    let mut index = parse(&[], &Limits::default());
    let mut expected_leaves = Vec::new();
    let mut addresses = Vec::new();
    let mut checked = 0;
    for line in include_str!("oracle/corpus.txt").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["message", octets] => {
                message = hex(octets);
                index = parse(&message, &Limits::default());
                (expected_leaves, addresses) = (Vec::new(), Vec::new());
                leaves(&index, &mut Vec::new(), &mut expected_leaves);
                expected_leaves.reverse();
                let to = header::first(&message[..index.header_len() as usize], "to").expect("To");
                addresses.extend(elements(to).map(|element| match element {
                    Element::Mailbox(mailbox) => mailbox.address(),
                    group => panic!("{group:?}"),
                }));
                addresses.reverse();
            }
            ["subject", text] => {
                let subject = String::from_utf8(hex(text)).expect("UTF-8");
                let found = index_contains(&index, "Subject", &Needle::new(&subject));
                assert_eq!(found, Some(true), "{subject}");
                let base = subject.strip_prefix("Re: ").unwrap_or(&subject).trim_end();
                assert!(
                    base.starts_with(index.base_subject()) && !index.base_subject().is_empty(),
                    "{subject}"
                );
            }
            ["date", seconds] => {
                let date = index.sent_date().expect("a date");
                assert_eq!(date.unix_seconds, seconds.parse::<i64>().expect("a number"));
            }
            ["to", address] => assert_eq!(addresses.pop(), Some(hex(address))),
            ["leaf", number, media_type, content] => {
                let path: Vec<u32> = number.split('.').map(|n| n.parse().expect("a number")).collect();
                assert_eq!(expected_leaves.pop().as_ref(), Some(&path), "{}", message.escape_ascii());
                let part = index.part(&path).expect("a part");
                assert_eq!(part.media_type, media_type);
                let range = index.section(&path, Section::Body).expect("a body");
                let body = &message[range.start as usize..range.end as usize];
                assert_eq!(
                    body.escape_ascii().to_string(),
                    hex(content).escape_ascii().to_string(),
                    "{number}"
                );
                checked += 1;
            }
            ["end"] => assert!(expected_leaves.is_empty() && addresses.is_empty()),
            _ => panic!("{line}"),
        }
    }
    assert!(checked > 100, "{checked}");
}

/// Types and parameter names are in lower case here and as written there.
#[test]
fn dovecot_answers_alike() {
    let mut index = parse(&[], &Limits::default());
    let mut checked = 0;
    for line in include_str!("oracle/dovecot.txt").lines() {
        let (what, octets) = line.split_once('\t').expect("two fields");
        let expected = hex(octets);
        let got = match what {
            "message" => {
                index = parse(&expected, &Limits::default());
                continue;
            }
            "ENVELOPE" => index.envelope(),
            "BODY" => index.body(),
            "BODYSTRUCTURE" => index.bodystructure(),
            _ => panic!("{what}"),
        };
        let lower = |octets: &[u8]| octets.to_ascii_lowercase().escape_ascii().to_string();
        assert_eq!(lower(&got), lower(&expected), "{what}");
        checked += 1;
    }
    assert!(checked > 100, "{checked}");
}
