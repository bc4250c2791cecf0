//! Entry points for fuzzing: any part, whatever it says it is. No panic, no result above its bounds, and a result is what
//! was asked for.

use std::io::Cursor;

use cpm_mime::recode;
use image::{DynamicImage, ImageFormat, ImageReader, RgbaImage};

use crate::frame::{head, job};
use crate::limits::{DECODER_MEMORY_SHARE, HEADER_BYTES_MAX};
use crate::picture;
use crate::plan::{Job, Media, Source, Target};
use crate::worker;

/// Memory of a conversion, octets: little, so that every picture is soon done.
const MEMORY_BYTES_MAX: u64 = 1 << 20;

/// What parts say of their charset: nothing, what is common, what has states or several octets a character, nonsense.
const FROM: [&str; 12] = [
    "",
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "windows-1252",
    "koi8-r",
    "shift_jis",
    "iso-2022-jp",
    "gb18030",
    "euc-kr",
    "utf-16",
    "x-unknown",
];
/// Charsets that are asked for.
const TO: [&str; 8] =
    ["utf-8", "us-ascii", "iso-8859-1", "windows-1251", "shift_jis", "iso-2022-jp", "gbk", "big5"];
/// What is to stand in place of characters that these lack.
const REPLACEMENTS: [Option<&str>; 4] = [None, Some(""), Some("?"), Some("\u{e9}")];

/// Converts a part: of `input` the first octets say from what to what, the others are the part.
///
/// # Panics
/// If a result is not what was asked for.
pub fn conversion(input: &[u8]) {
    let Some((&[kind, a, b, c], octets)) = input.split_first_chunk::<4>() else { return };
    let picked = |at: u8, from: &[&str]| from[usize::from(at) % from.len()].to_owned();
    let replacement = REPLACEMENTS[usize::from(c) % REPLACEMENTS.len()].map(str::to_owned);
    let source = Source::ALL[usize::from(kind) % Source::ALL.len()];
    let wanted = match source.media() {
        Media::Text if kind >= 0x80 => Job::Header { to: picked(b, &TO), replacement },
        Media::Text => Job::Text { source, from: picked(a, &FROM), to: picked(b, &TO), replacement },
        Media::Picture => {
            let targets: Vec<Target> = source.targets().collect();
            let side = |side: u8| Some(u32::from(side)).filter(|side| *side > 0);
            let target = targets[usize::from(a) % targets.len()];
            Job::Picture { source, target, width: side(b), height: side(c) }
        }
    };
    assert_eq!(job(&head(&wanted)).as_ref(), Some(&wanted));
    // Noise seldom is a picture.
    let made = match wanted {
        Job::Picture { target, .. } if kind >= 0x80 => damaged(octets, target),
        _ => octets.to_vec(),
    };
    let Ok(result) = worker::convert(&wanted, &made, MEMORY_BYTES_MAX) else { return };
    match wanted {
        Job::Text { source, from, to, .. } => {
            if to == "utf-8" {
                let kind = source.text_kind().expect("a text");
                assert_eq!(recode::text(kind, &from, &made).as_deref(), std::str::from_utf8(&result).ok());
            }
            assert!(to != "us-ascii" || result.is_ascii());
        }
        Job::Header { .. } if made.len() as u64 > HEADER_BYTES_MAX => {}
        // No field comes or goes, whatever was encoded in one.
        Job::Header { .. } => assert_eq!(fields(&result), fields(&made)),
        Job::Picture { target, width, height, .. } => {
            let reader = ImageReader::new(Cursor::new(&result)).with_guessed_format().expect("octets");
            let format = match target {
                Target::Png => ImageFormat::Png,
                Target::WebP => ImageFormat::WebP,
                Target::Jpeg | Target::Plain => ImageFormat::Jpeg,
            };
            assert_eq!(reader.format(), Some(format));
            let made = reader.into_dimensions().expect("a picture");
            assert!(made.0 >= 1 && width.is_none_or(|max| made.0 <= max), "{made:?} {width:?}");
            assert!(made.1 >= 1 && height.is_none_or(|max| made.1 <= max), "{made:?} {height:?}");
            let (of, parts) = DECODER_MEMORY_SHARE;
            assert!(u64::from(made.0) * u64::from(made.1) <= MEMORY_BYTES_MAX / parts * of, "{made:?}");
        }
    }
}

/// Lines that begin a field, or are none.
fn fields(block: &[u8]) -> usize {
    block.split_inclusive(|octet| *octet == b'\n').filter(|line| !matches!(line[0], b' ' | b'\t')).count()
}

/// A picture with these octets in its pixels, and some of its own octets changed.
fn damaged(octets: &[u8], target: Target) -> Vec<u8> {
    let Some((&[width, height, count], octets)) = octets.split_first_chunk::<3>() else { return Vec::new() };
    let (changes, pixels) = octets.split_at((usize::from(count % 8) * 3).min(octets.len()));
    let mut pixels = pixels.iter().copied().chain(std::iter::repeat(0));
    let mut pixel = || pixels.next().unwrap_or(0);
    let (width, height) = (u32::from(width % 64) + 1, u32::from(height % 64) + 1);
    let picture = RgbaImage::from_fn(width, height, |_, _| image::Rgba([pixel(), pixel(), pixel(), pixel()]));
    let mut made = picture::write(DynamicImage::ImageRgba8(picture), target).unwrap_or_default();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % made.len().max(1);
        if let Some(octet) = made.get_mut(at) {
            *octet ^= change[2];
        }
    }
    made
}
