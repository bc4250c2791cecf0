//! Conversions by real workers: good parts, bombs, and what is kept of both.

use std::cell::Cell;
use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use convert::{Converter, Failure, Job, Key, Options, Planned, Refusal, Source, Target, plan};
use image::{DynamicImage, GenericImageView as _, ImageFormat, Rgba, RgbaImage};
use model::{AccountId, BodyId};

const MIB: u64 = 1 << 20;

fn options() -> Options {
    Options {
        program: (env!("CARGO_BIN_EXE_convert-worker").into(), Vec::new()),
        workers: 2,
        memory_bytes_max: 256 * MIB,
        cpu_seconds_max: 60,
        time_max: Duration::from_secs(120),
        source_bytes_max: 64 * MIB,
        cache_bytes: 16 * MIB,
    }
}

fn key(job: Job, body: u64) -> Key {
    Key { account: AccountId(1), body: BodyId(body), part: vec![2], job }
}

/// What a conversion of `octets` comes to, of a message that no other has.
async fn converted(
    converter: &Converter,
    job: Job,
    octets: &[u8],
) -> Result<Result<Bytes, Refusal>, Failure> {
    let body = octets.len() as u64 * 31 + octets.iter().map(|octet| u64::from(*octet)).sum::<u64>();
    let source = Bytes::copy_from_slice(octets);
    let done = converter.convert(key(job, body), octets.len() as u64, async { Ok(source) }).await?;
    Ok(done.map(|converted| converted.octets.clone()))
}

fn job(source: Source, charset: &str, target: Target, parameters: &[(&str, &str)]) -> Job {
    match plan(source, charset, target, parameters) {
        Planned::Job(job) => job,
        other => panic!("{other:?}"),
    }
}

fn thumbnail(source: Source, target: Target) -> Job {
    job(source, "", target, &[("pix-x", "40"), ("pix-y", "40")])
}

/// 80 by 60, the left half red, the right half half-transparent blue.
fn picture() -> DynamicImage {
    let colour = |x| if x < 40 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 0, 255, 128]) };
    RgbaImage::from_fn(80, 60, |x, _| colour(x)).into()
}

fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => DynamicImage::from(picture.to_rgb8()).write_to(&mut out, format),
        _ => picture.write_to(&mut out, format),
    }
    .expect("written");
    out.into_inner()
}

#[tokio::test]
async fn pictures_of_each_kind_become_each_kind() {
    let converter = Converter::new(options());
    for (source, format) in [
        (Source::Jpeg, ImageFormat::Jpeg),
        (Source::Png, ImageFormat::Png),
        (Source::Gif, ImageFormat::Gif),
        (Source::WebP, ImageFormat::WebP),
    ] {
        let octets = written(&picture(), format);
        for (target, format) in [
            (Target::Jpeg, ImageFormat::Jpeg),
            (Target::Png, ImageFormat::Png),
            (Target::WebP, ImageFormat::WebP),
        ] {
            let done = converted(&converter, thumbnail(source, target), &octets).await.expect("an answer");
            let done =
                image::load_from_memory_with_format(&done.expect("a picture"), format).expect("of its kind");
            assert_eq!(done.dimensions(), (40, 30), "{source:?} {target:?}");
            let Rgba([r, g, b, a]) = done.get_pixel(5, 15);
            assert!(r > 200 && g < 60 && b < 60 && a == 255, "{source:?} {target:?}: {r} {g} {b} {a}");
        }
    }
    // Mislabelled by who sent it; transparency shows white in JPEG.
    let png = written(&picture(), ImageFormat::Png);
    let done = converted(&converter, thumbnail(Source::Jpeg, Target::Jpeg), &png).await.expect("an answer");
    let done = image::load_from_memory(&done.expect("a picture")).expect("a picture");
    let Rgba([r, _, b, _]) = done.get_pixel(35, 15);
    assert!((100..160).contains(&r) && b > 230, "half blue on white: {r} {b}");
}

/// A camera held upright writes the picture lying, and says so in EXIF.
#[tokio::test]
async fn pictures_stand_as_they_were_taken() {
    let mut jpeg = written(&picture(), ImageFormat::Jpeg);
    // Orientation 6: to be turned by 90 degrees. One entry of an IFD (Exif 2.3 §4.6).
    let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    let converter = Converter::new(options());
    let done = converted(&converter, job(Source::Jpeg, "", Target::Png, &[("pix-x", "30")]), &jpeg).await;
    let done = image::load_from_memory(&done.expect("an answer").expect("a picture")).expect("a picture");
    assert_eq!(done.dimensions(), (30, 40));
    assert!(done.get_pixel(15, 5).0[0] > 200, "what was left is on top");
}

#[tokio::test]
async fn texts_change_charset() {
    let converter = Converter::new(options());
    let text = |charset, to, replacement: Option<&'static str>| {
        let mut parameters = vec![("charset", to)];
        parameters.extend(replacement.map(|text| ("unknown-character-replacement", text)));
        job(Source::Html, charset, Target::Plain, &parameters)
    };
    let html = b"<html><head><title>t</title></head><body><p>caf\xe9 &euro;</p></body></html>";
    let done = converted(&converter, text("iso-8859-1", "utf-8", None), html).await.expect("an answer");
    assert_eq!(done.expect("text"), "café €\r\n");
    let done = converted(&converter, text("iso-8859-1", "us-ascii", None), html).await.expect("an answer");
    assert_eq!(done, Err(Refusal::Lacking));
    let done =
        converted(&converter, text("iso-8859-1", "us-ascii", Some("?")), html).await.expect("an answer");
    assert_eq!(done.expect("text"), "caf? ?\r\n");
    let Planned::Job(header) = Job::of_header(&[("charset", "utf-8")]) else { panic!("a job") };
    let done =
        converted(&converter, header, b"Subject: =?iso-8859-1?q?=E9?=\r\n\r\n").await.expect("an answer");
    assert_eq!(done.expect("a header"), "Subject: =?utf-8?Q?=C3=A9?=\r\n\r\n");
}

/// A PNG of so many pixels of one bit, all black: some bytes a thousand lines.
fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let line = vec![0; (width as usize).div_ceil(8) + 1];
    for _ in 0..height {
        std::io::Write::write_all(&mut deflated, &line).expect("into memory");
    }
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &header),
        &chunk(b"IDAT", &deflated.finish().expect("into memory")),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

#[tokio::test]
async fn bombs_are_refused_and_the_next_part_is_converted() {
    let converter = Converter::new(Options { memory_bytes_max: 96 * MIB, cpu_seconds_max: 5, ..options() });
    let gif_of_frames = {
        let mut out = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut out);
        let frame = RgbaImage::from_pixel(1, 1, Rgba([1, 2, 3, 255]));
        let frames = (0..5_000).map(|_| image::Frame::new(frame.clone()));
        encoder.encode_frames(frames).expect("frames");
        drop(encoder);
        out
    };
    let mut huge_jpeg = written(&picture(), ImageFormat::Jpeg);
    let frame = huge_jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("SOF0");
    huge_jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let mut huge_gif = written(&picture(), ImageFormat::Gif);
    huge_gif[6..10].copy_from_slice(&[0xff; 4]);
    let mut declared_only = png_bomb(60_000, 1);
    declared_only.truncate(60);

    for (what, source, octets, expected) in [
        ("a PNG of 60000 by 60000", Source::Png, declared_only, Some(Refusal::TooLarge)),
        (
            "a PNG of 900 million pixels in 110 kB",
            Source::Png,
            png_bomb(30_000, 30_000),
            Some(Refusal::TooLarge),
        ),
        ("a JPEG of 60000 by 60000", Source::Jpeg, huge_jpeg, Some(Refusal::TooLarge)),
        ("a GIF of 65535 by 65535", Source::Gif, huge_gif, Some(Refusal::TooLarge)),
        ("an animation of 5000 frames", Source::Gif, gif_of_frames, None),
        ("no picture", Source::Jpeg, b"Hello, I am no picture".to_vec(), Some(Refusal::Unreadable)),
        (
            "half a picture",
            Source::Png,
            written(&picture(), ImageFormat::Png)[..90].to_vec(),
            Some(Refusal::Unreadable),
        ),
        ("nothing", Source::WebP, Vec::new(), Some(Refusal::Unreadable)),
    ] {
        let done = converted(&converter, thumbnail(source, Target::Jpeg), &octets).await.expect(what);
        assert_eq!(done.err(), expected, "{what}");
    }
    let good = written(&picture(), ImageFormat::Png);
    let done = converted(&converter, thumbnail(Source::Png, Target::Png), &good);
    assert!(done.await.expect("a worker lives").is_ok());
}

/// A worker that asks for more memory than it may have dies, and is replaced.
#[tokio::test]
async fn memory_is_bounded() {
    let converter = Converter::new(Options { memory_bytes_max: 64 * MIB, workers: 1, ..options() });
    let text = job(Source::Plain, "iso-8859-1", Target::Plain, &[]);
    let done = converted(&converter, text.clone(), &vec![0xe9; 30 << 20]).await;
    assert_eq!(done, Ok(Err(Refusal::TooCostly)));
    assert_eq!(converted(&converter, text, b"caf\xe9").await, Ok(Ok("café".into())));
}

/// A worker that takes too much time is ended by the system, or if the machine is slow by the converter.
#[tokio::test]
async fn time_is_bounded() {
    let converter = Converter::new(Options { cpu_seconds_max: 0, workers: 1, ..options() });
    let long = job(Source::Png, "", Target::WebP, &[]);
    assert_eq!(converted(&converter, long, &png_bomb(8_000, 6_000)).await, Ok(Err(Refusal::TooCostly)));

    let hasty = Converter::new(Options { time_max: Duration::from_millis(1), workers: 1, ..options() });
    let long = job(Source::Png, "", Target::WebP, &[]);
    assert_eq!(converted(&hasty, long, &png_bomb(8_000, 6_000)).await, Err(Failure::Busy));
}

#[tokio::test]
async fn what_cannot_start_is_busy() {
    let converter = Converter::new(Options { program: ("/no/such/program".into(), Vec::new()), ..options() });
    let text = job(Source::Plain, "", Target::Plain, &[]);
    assert_eq!(converted(&converter, text, b"x").await, Err(Failure::Busy));
}

#[tokio::test]
async fn answers_and_refusals_are_kept_and_failures_are_not() {
    let converter = Converter::new(options());
    let read = Cell::new(0);
    let source = |octets: &'static [u8]| {
        read.set(read.get() + 1);
        Ok(Bytes::from_static(octets))
    };
    let text = |to| key(job(Source::Plain, "utf-8", Target::Plain, &[("charset", to)]), 7);
    for _ in 0..3 {
        let done = converter.convert(text("koi8-r"), 4, async { source("Пр".as_bytes()) }).await;
        assert_eq!(done.expect("an answer").expect("text").octets, &b"\xf0\xd2"[..]);
        let done = converter.convert(text("us-ascii"), 4, async { source("Пр".as_bytes()) }).await;
        assert_eq!(done, Ok(Err(Refusal::Lacking)));
    }
    assert_eq!(read.get(), 2, "each is converted once");
    // Of another account nothing is known.
    let other = Key { account: AccountId(2), ..text("koi8-r") };
    converter.convert(other, 4, async { source(b"x") }).await.expect("an answer").expect("text");
    assert_eq!(read.get(), 3);

    let gone = || model::Error::new(model::ErrorKind::Expunged, "gone");
    let failing = Key { part: vec![9], ..text("koi8-r") };
    for _ in 0..2 {
        let done = converter.convert(failing.clone(), 4, async { Err(gone()) }).await;
        assert_eq!(done, Err(Failure::Source(gone())));
    }
    let done = converter.convert(failing, 4, async { source(b"x") }).await;
    assert!(done.expect("an answer").is_ok());
    let done =
        converter.convert(text("iso-8859-5"), 65 * MIB, async { unreachable!("too large to be read") });
    assert_eq!(done.await, Ok(Err(Refusal::TooLarge)));
}

/// More than there are workers wait for their turn.
#[tokio::test]
async fn all_come_to_their_turn() {
    let converter = Converter::new(options());
    let octets = Bytes::from(written(&picture(), ImageFormat::Png));
    let all = (0..24).map(|body| {
        let (converter, octets) = (converter.clone(), octets.clone());
        tokio::spawn(async move {
            let key = key(thumbnail(Source::Png, Target::Jpeg), 1_000 + body);
            converter.convert(key, octets.len() as u64, async { Ok(octets) }).await
        })
    });
    for one in all.collect::<Vec<_>>() {
        assert!(one.await.expect("no panic").expect("an answer").is_ok());
    }
}
