//! What a converter and its workers say to each other, over pipes.
//!
//! A question: `u32` octets of the head, the head, `u64` octets of the part, the part. An answer: a status octet, `u32`
//! octets, the result. Numbers are little-endian. Both sides are one binary, so there is no version; the converter still
//! takes nothing from a worker for granted.

use crate::Refusal;
use crate::limits::{CHARSET_BYTES_MAX, REPLACEMENT_BYTES_MAX};
use crate::plan::{Job, Source, Target};

/// Octets of a head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 + 2 * CHARSET_BYTES_MAX + REPLACEMENT_BYTES_MAX;
/// The status of an answer with a result.
pub(crate) const DONE: u8 = 0;

const TEXT: u8 = 0;
const PICTURE: u8 = 1;
const HEADER: u8 = 2;

impl Refusal {
    pub(crate) fn from_status(status: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| *refusal as u8 == status)
    }
}

pub(crate) fn head(job: &Job) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    match job {
        Job::Text { source, from, to, replacement } => {
            out.extend_from_slice(&[TEXT, *source as u8]);
            string(&mut out, Some(from));
            string(&mut out, Some(to));
            string(&mut out, replacement.as_deref());
        }
        Job::Picture { source, target, width, height } => {
            out.extend_from_slice(&[PICTURE, *source as u8, *target as u8]);
            for side in [width, height] {
                out.extend_from_slice(&side.unwrap_or(0).to_le_bytes());
            }
        }
        Job::Header { to, replacement } => {
            out.push(HEADER);
            string(&mut out, Some(to));
            string(&mut out, replacement.as_deref());
        }
    }
    out
}

/// The job of a head; none for what is none.
pub(crate) fn job(mut head: &[u8]) -> Option<Job> {
    let head = &mut head;
    let job = match byte(head)? {
        TEXT => Job::Text {
            source: source(head)?,
            from: take_string(head).ok()??,
            to: take_string(head).ok()??,
            replacement: take_string(head).ok()?,
        },
        PICTURE => {
            let source = source(head)?;
            let target = byte(head)?;
            let target = Target::ALL.into_iter().find(|known| *known as u8 == target)?;
            let mut side = || {
                let (number, rest) = head.split_first_chunk::<4>()?;
                *head = rest;
                Some(Some(u32::from_le_bytes(*number)).filter(|n| *n > 0))
            };
            Job::Picture { source, target, width: side()?, height: side()? }
        }
        HEADER => Job::Header { to: take_string(head).ok()??, replacement: take_string(head).ok()? },
        _ => return None,
    };
    head.is_empty().then_some(job)
}

/// Its octets, and before them how many there are and one more; 0 for none.
fn string(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return out.push(0) };
    // All strings of a job have bounds below this.
    let length = text.len().min(254);
    out.push(length as u8 + 1);
    out.extend_from_slice(&text.as_bytes()[..length]);
}

fn byte(head: &mut &[u8]) -> Option<u8> {
    let (first, rest) = head.split_first()?;
    *head = rest;
    Some(*first)
}

fn source(head: &mut &[u8]) -> Option<Source> {
    let source = byte(head)?;
    Source::ALL.into_iter().find(|known| *known as u8 == source)
}

/// A string that is there or not.
fn take_string(head: &mut &[u8]) -> Result<Option<String>, Cut> {
    let Some(length) = byte(head).ok_or(Cut)?.checked_sub(1) else { return Ok(None) };
    let (text, rest) = head.split_at_checked(usize::from(length)).ok_or(Cut)?;
    *head = rest;
    String::from_utf8(text.to_vec()).map(Some).map_err(|_| Cut)
}

/// A head that ends too early, or has no text where text should be.
#[derive(Debug)]
struct Cut;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jobs_are_read_as_they_were_written() {
        let text = |text: &str| text.to_owned();
        for wanted in [
            Job::Text { source: Source::Html, from: text(""), to: text("utf-8"), replacement: None },
            Job::Text { source: Source::Cpim, from: text("x"), to: text("y"), replacement: Some(text("")) },
            Job::Picture { source: Source::WebP, target: Target::Png, width: None, height: Some(96) },
            Job::Header { to: text("koi8-r"), replacement: Some("é".repeat(16)) },
        ] {
            let head = head(&wanted);
            assert!(head.len() <= HEAD_BYTES_MAX);
            assert_eq!(job(&head), Some(wanted));
            assert_eq!(job(&head[..head.len() - 1]), None);
        }
        assert!(Refusal::ALL.iter().all(|r| Refusal::from_status(*r as u8) == Some(*r)));
        assert_eq!(Refusal::from_status(DONE), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_job_or_none(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(read) = job(&octets) {
                prop_assert_eq!(job(&head(&read)), Some(read));
            }
        }
    }
}
