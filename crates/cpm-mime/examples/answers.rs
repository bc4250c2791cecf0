//! Prints what IMAP would answer about the messages in the files named on the command line, a line an answer:
//! `cargo run -p cpm-mime --example answers -- FILE…`. Octets outside of printable ASCII are escaped.

use cpm_mime::{Limits, MessageIndex, PartKind, Section, parse};

fn main() -> std::io::Result<()> {
    for file in std::env::args_os().skip(1) {
        let message = std::fs::read(&file)?;
        let index = parse(&message, &Limits::default());
        println!("FILE {}", file.display());
        println!("ENVELOPE {}", index.envelope().escape_ascii());
        println!("BODY {}", index.body().escape_ascii());
        println!("BODYSTRUCTURE {}", index.bodystructure().escape_ascii());
        println!("PREVIEW {}", index.preview().unwrap_or_default());
        sections(&message, &index, &mut Vec::new());
    }
    Ok(())
}

fn sections(message: &[u8], index: &MessageIndex, path: &mut Vec<u32>) {
    for number in 1.. {
        path.push(number);
        let Some(part) = index.part(path) else {
            path.pop();
            return;
        };
        let name = path.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        for (section, suffix) in [
            (Section::Body, ""),
            (Section::Mime, ".MIME"),
            (Section::Header, ".HEADER"),
            (Section::Text, ".TEXT"),
        ] {
            if let Some(range) = index.section(path, section) {
                let octets = &message[range.start as usize..range.end as usize];
                println!("BODY[{name}{suffix}] {}", octets.escape_ascii());
            }
        }
        if matches!(part.kind, PartKind::Multipart | PartKind::Message) {
            sections(message, index, path);
        }
        path.pop();
    }
}
