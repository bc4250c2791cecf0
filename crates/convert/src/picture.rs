//! Pictures: read within bounds, made smaller, written anew without what cameras write into them.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::png::{PngDecoder, PngEncoder};
use image::codecs::webp::{WebPDecoder, WebPEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageResult, Limits, RgbImage};

use crate::Refusal;
use crate::limits::{DECODER_MEMORY_SHARE, JPEG_QUALITY, PIXELS_PER_SIDE_READ_MAX};
use crate::plan::{Source, Target};

/// What a picture is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub source: Source,
    pub target: Target,
    /// Width and height at most, pixels, as it is looked at. It keeps its shape, and is never made larger.
    pub width: Option<u32>,
    pub height: Option<u32>,
}

/// Converts a picture; of one that moves, the first frame.
pub(crate) fn convert(octets: &[u8], wanted: Wanted, memory_bytes_max: u64) -> Result<Vec<u8>, Refusal> {
    let (mut picture, orientation) =
        read(octets, wanted.source, memory_bytes_max).map_err(|e| refusal(&e))?;
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let (width, height) = if turned { (wanted.height, wanted.width) } else { (wanted.width, wanted.height) };
    let (width, height) = fit((picture.width(), picture.height()), (width, height));
    if (width, height) != (picture.width(), picture.height()) {
        picture = picture.thumbnail_exact(width, height);
    }
    picture.apply_orientation(orientation);
    write(picture, wanted.target).map_err(|e| refusal(&e))
}

fn refusal(error: &ImageError) -> Refusal {
    match error {
        ImageError::Limits(_) => Refusal::TooLarge,
        _ => Refusal::Unreadable,
    }
}

fn read(octets: &[u8], source: Source, memory_bytes_max: u64) -> ImageResult<(DynamicImage, Orientation)> {
    // Phones and gateways call pictures what they are not.
    let format = match image::guess_format(octets) {
        Ok(format) => format,
        Err(_) => match source {
            Source::Png => ImageFormat::Png,
            Source::Gif => ImageFormat::Gif,
            Source::WebP => ImageFormat::WebP,
            Source::Jpeg | Source::Plain | Source::Html | Source::Cpim => ImageFormat::Jpeg,
        },
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(PIXELS_PER_SIDE_READ_MAX);
    limits.max_image_height = Some(PIXELS_PER_SIDE_READ_MAX);
    let (of, parts) = DECODER_MEMORY_SHARE;
    limits.max_alloc = Some(memory_bytes_max / parts * of);
    let input = Cursor::new(octets);
    match format {
        ImageFormat::Png => decode(PngDecoder::with_limits(input, limits.clone())?, limits),
        ImageFormat::Gif => decode(GifDecoder::new(input)?, limits),
        ImageFormat::WebP => decode(WebPDecoder::new(input)?, limits),
        _ => decode(JpegDecoder::new(input)?, limits),
    }
}

fn decode(mut decoder: impl ImageDecoder, mut limits: Limits) -> ImageResult<(DynamicImage, Orientation)> {
    let (width, height) = decoder.dimensions();
    limits.check_dimensions(width, height)?;
    // What the picture takes; decoders count what else they take, as far as they do.
    limits.clone().reserve(decoder.total_bytes())?;
    decoder.set_limits(limits.clone())?;
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder)?, orientation))
}

/// The largest size of the same shape within bounds; 1 pixel at least.
fn fit((width, height): (u32, u32), (width_max, height_max): (Option<u32>, Option<u32>)) -> (u32, u32) {
    let (w, h) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (mut of, mut by) = (1, 1);
    for (side, max) in [(w, width_max), (h, height_max)] {
        if let Some(max) = max.map(u64::from).filter(|max| *max < side)
            // max / side is less than of / by.
            && max * by < of * side
        {
            (of, by) = (max, side);
        }
    }
    let scaled = |side: u64| u32::try_from((side * of + by / 2) / by).unwrap_or(u32::MAX).max(1);
    (scaled(w), scaled(h))
}

pub(crate) fn write(picture: DynamicImage, target: Target) -> ImageResult<Vec<u8>> {
    let mut out = Vec::new();
    let alpha = picture.color().has_alpha();
    match target {
        Target::Png if alpha => picture.to_rgba8().write_with_encoder(PngEncoder::new(&mut out))?,
        Target::Png => picture.to_rgb8().write_with_encoder(PngEncoder::new(&mut out))?,
        Target::WebP if alpha => {
            picture.to_rgba8().write_with_encoder(WebPEncoder::new_lossless(&mut out))?;
        }
        Target::WebP => picture.to_rgb8().write_with_encoder(WebPEncoder::new_lossless(&mut out))?,
        Target::Jpeg | Target::Plain => {
            let encoder = JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
            if alpha { on_white(&picture) } else { picture.to_rgb8() }.write_with_encoder(encoder)?;
        }
    }
    Ok(out)
}

/// JPEG has no transparency: what shows through is white, as in most clients.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [r, g, b, a] = picture.get_pixel(x, y).0.map(u32::from);
        let over = |c: u32| ((c * a + 255 * (255 - a) + 127) / 255) as u8;
        image::Rgb([over(r), over(g), over(b)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape_and_never_grow() {
        for (size, max, expected) in [
            ((400, 300), (Some(128), Some(96)), (128, 96)),
            ((400, 300), (Some(128), None), (128, 96)),
            ((300, 400), (Some(128), Some(96)), (72, 96)),
            ((400, 300), (None, None), (400, 300)),
            ((40, 30), (Some(128), Some(96)), (40, 30)),
            ((40, 30), (Some(128), Some(15)), (20, 15)),
            ((10_000, 1), (Some(100), Some(100)), (100, 1)),
            ((u32::MAX, u32::MAX), (Some(1), None), (1, 1)),
        ] {
            assert_eq!(fit(size, max), expected, "{size:?} {max:?}");
        }
    }

    #[test]
    fn what_shows_through_is_white() {
        let picture = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(1, 1, image::Rgba([0, 0, 0, 0])));
        assert_eq!(on_white(&picture).get_pixel(0, 0).0, [255; 3]);
    }
}
