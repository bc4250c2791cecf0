//! Base subject (RFC 5256 §2.1), for SORT and THREAD.

/// The base subject, and whether anything that marks a reply or forward was removed to get it.
/// `subject`: decoded text.
pub(crate) fn base(subject: &str) -> (String, bool) {
    let text = collapse(subject);
    let mut rest = &text[..];
    let mut is_reply = false;
    loop {
        // (2)
        loop {
            let trimmed = rest.trim_end_matches(' ');
            match strip_suffix_ignore_case(trimmed, "(fwd)") {
                Some(shorter) => {
                    is_reply = true;
                    rest = shorter;
                }
                None => {
                    rest = trimmed;
                    break;
                }
            }
        }
        // (3) to (5)
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(shorter) = leader(rest) {
                is_reply = true;
                rest = shorter;
                continue;
            }
            // What a leader is does not depend on how many blobs precede it, so no leader appears as these go.
            while let Some(shorter) = blob(rest).filter(|shorter| !shorter.is_empty()) {
                rest = shorter;
            }
            break;
        }
        // (6)
        match strip_prefix_ignore_case(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => {
                is_reply = true;
                rest = inner;
            }
            None => return (rest.to_owned(), is_reply),
        }
    }
}

/// (1) Runs of blanks to one space.
fn collapse(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for char in subject.chars() {
        match char {
            ' ' | '\t' | '\r' | '\n' => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            other => out.push(other),
        }
    }
    out
}

/// `*subj-blob subj-refwd` removed.
fn leader(mut text: &str) -> Option<&str> {
    while let Some(after) = blob(text) {
        text = after;
    }
    let after = strip_prefix_ignore_case(text, "re")
        .or_else(|| strip_prefix_ignore_case(text, "fwd"))
        .or_else(|| strip_prefix_ignore_case(text, "fw"))?
        .trim_start_matches(' ');
    blob(after).unwrap_or(after).strip_prefix(':')
}

/// `"[" *BLOBCHAR "]" *WSP` removed. A blob char is anything but brackets.
fn blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    inner[end..].strip_prefix(']').map(|after| after.trim_start_matches(' '))
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    text.get(at..)?.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_subjects() {
        for (subject, expected, is_reply) in [
            ("", "", false),
            ("hello", "hello", false),
            ("  hello\t world ", "hello world", false),
            ("Re: hello", "hello", true),
            ("RE : re:FWD:fw: hello", "hello", true),
            ("Re [2]: hello", "hello", true),
            ("[list] Re: hello", "hello", true),
            ("[list] hello", "hello", false),
            ("[a] [b] hello", "hello", false),
            ("[list]", "[list]", false),
            ("Re: [list]", "[list]", true),
            ("hello (fwd) (FWD) ", "hello", true),
            ("[Fwd: hello]", "hello", true),
            ("[Fwd: Re: hello (fwd)]", "hello", true),
            ("Re: [fwd: [fwd: x]]", "x", true),
            ("regarding: x", "regarding: x", false),
            ("re", "re", false),
            ("Re:", "", true),
            ("é: x", "é: x", false),
            ("(fwd)", "", true),
        ] {
            assert_eq!(base(subject), (expected.to_owned(), is_reply), "{subject:?}");
        }
    }

    #[test]
    fn repetition_costs_one_pass() {
        let check = |subject: String, expected: &str| assert_eq!(base(&subject).0, expected);
        check("[a]".repeat(300_000) + "x", "x");
        check("[a]".repeat(300_000), "[a]");
        check("Re: ".repeat(300_000) + "x", "x");
        check("[fwd:".repeat(300_000) + "x" + &"]".repeat(300_000), "x");
        check("x".to_owned() + &" (fwd)".repeat(300_000), "x");
    }
}
