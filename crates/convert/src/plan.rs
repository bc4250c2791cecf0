//! Which conversions there are, and what a request comes to.

use cpm_mime::recode::{Charset, TextKind};

use crate::limits::{CHARSET_BYTES_MAX, PIXELS_PER_SIDE_ASKED_MAX, REPLACEMENT_BYTES_MAX};

/// Conversion parameters as asked: (name, value). Names are in any case (RFC 2506).
pub type Parameters<'a> = [(&'a str, &'a str)];

/// The charset of text (RFC 2987).
const CHARSET: &str = "charset";
/// What stands in place of characters that the charset lacks (RFC 5259 §12.1).
const REPLACEMENT: &str = "unknown-character-replacement";
/// The width that a picture has at most, pixels (RFC 2534).
const PIX_X: &str = "pix-x";
/// The height that a picture has at most, pixels (RFC 2534).
const PIX_Y: &str = "pix-y";

/// What can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// text/plain
    Plain = 0,
    /// text/html
    Html = 1,
    /// message/cpim: the text in it.
    Cpim = 2,
    /// image/jpeg
    Jpeg = 3,
    /// image/png
    Png = 4,
    /// image/gif: its first frame.
    Gif = 5,
    /// image/webp: its first frame.
    WebP = 6,
}

/// What it can be converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Target {
    /// text/plain
    Plain = 0,
    /// image/jpeg
    Jpeg = 1,
    /// image/png
    Png = 2,
    /// image/webp, without loss.
    WebP = 3,
}

/// Text or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// It has a charset.
    Text,
    /// It has width and height.
    Picture,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Html, Self::Cpim, Self::Jpeg, Self::Png, Self::Gif, Self::WebP];

    /// The source of a media type, lower case; none that is not converted.
    pub fn named(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.media_type() == media_type)
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain",
            Self::Html => "text/html",
            Self::Cpim => "message/cpim",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    /// What it is.
    pub fn media(self) -> Media {
        match self {
            Self::Plain | Self::Html | Self::Cpim => Media::Text,
            Self::Jpeg | Self::Png | Self::Gif | Self::WebP => Media::Picture,
        }
    }

    /// What it can be converted to, the customary first.
    pub fn targets(self) -> impl Iterator<Item = Target> {
        Target::ALL.into_iter().filter(move |target| target.media() == self.media())
    }

    pub(crate) fn text_kind(self) -> Option<TextKind> {
        match self {
            Self::Plain => Some(TextKind::Plain),
            Self::Html => Some(TextKind::Html),
            Self::Cpim => Some(TextKind::Cpim),
            Self::Jpeg | Self::Png | Self::Gif | Self::WebP => None,
        }
    }
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Jpeg, Self::Png, Self::WebP];

    /// The target of a media type, in any case; none that nothing is converted to.
    pub fn named(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.media_type().eq_ignore_ascii_case(media_type))
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }

    /// What it is.
    pub fn media(self) -> Media {
        match self {
            Self::Plain => Media::Text,
            Self::Jpeg | Self::Png | Self::WebP => Media::Picture,
        }
    }

    /// The parameters that a conversion to it takes.
    pub fn parameters(self) -> &'static [&'static str] {
        match self.media() {
            Media::Text => &[CHARSET, REPLACEMENT],
            Media::Picture => &[PIX_X, PIX_Y],
        }
    }
}

/// A conversion that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// From what.
    pub source: Source,
    /// To what.
    pub target: Target,
}

/// All conversions.
pub fn conversions() -> impl Iterator<Item = Conversion> {
    Source::ALL
        .into_iter()
        .flat_map(|source| source.targets().map(move |target| Conversion { source, target }))
}

/// What a worker does with a part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Text, to text/plain.
    Text {
        /// What the part is.
        source: Source,
        /// The charset that it says it is in; may be empty.
        from: String,
        /// The charset that it is to be in: one that is known.
        to: String,
        /// What stands in place of characters that `to` lacks.
        replacement: Option<String>,
    },
    /// A picture.
    Picture {
        /// What the part says it is.
        source: Source,
        /// What it is to be.
        target: Target,
        /// Width at most, pixels.
        width: Option<u32>,
        /// Height at most, pixels.
        height: Option<u32>,
    },
    /// A header block, whose encoded words change their charset.
    Header {
        /// The charset that they are to be in: one that is known.
        to: String,
        /// What stands in place of characters that `to` lacks.
        replacement: Option<String>,
    },
}

/// What a result is, for BODYPARTSTRUCTURE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// text/plain in this charset.
    Text(String),
    /// A picture.
    Picture(Target),
}

impl Job {
    /// What its result is; none of a header block.
    pub fn form(&self) -> Option<Form> {
        match self {
            Self::Text { to, .. } => Some(Form::Text(to.clone())),
            Self::Picture { target, .. } => Some(Form::Picture(*target)),
            Self::Header { .. } => None,
        }
    }

    pub(crate) fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Text { source, .. } => (source.media_type(), Target::Plain.media_type()),
            Self::Picture { source, target, .. } => (source.media_type(), target.media_type()),
            Self::Header { .. } => ("header", "header"),
        }
    }

    /// The job of converting encoded words of headers.
    ///
    /// # Errors
    /// As [`plan`].
    pub fn of_header(parameters: &Parameters<'_>) -> Planned {
        match text(parameters) {
            Ok((to, replacement)) => Planned::Job(Self::Header { to, replacement }),
            Err(bad) => Planned::BadParameters(bad),
        }
    }
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// It can be tried.
    Job(Job),
    /// There is no such conversion.
    Impossible,
    /// These of its parameters, by their place, are not known for the conversion, or have no value that can be.
    BadParameters(Vec<usize>),
}

/// What the conversion of a part comes to. `charset`: as the part says it.
pub fn plan(source: Source, charset: &str, target: Target, parameters: &Parameters<'_>) -> Planned {
    if source.media() != target.media() {
        return Planned::Impossible;
    }
    match target.media() {
        Media::Text => match text(parameters) {
            Ok((to, replacement)) => {
                let from = if source == Source::Cpim { "" } else { charset };
                let from = if from.len() > CHARSET_BYTES_MAX { "" } else { from };
                Planned::Job(Job::Text { source, from: from.to_owned(), to, replacement })
            }
            Err(bad) => Planned::BadParameters(bad),
        },
        Media::Picture => {
            let (mut sides, mut bad) = ([None; 2], Vec::new());
            for (at, (name, value)) in parameters.iter().enumerate() {
                let side = [PIX_X, PIX_Y].iter().position(|known| known.eq_ignore_ascii_case(name));
                let pixels = value.parse().ok().filter(|n| (1..=PIXELS_PER_SIDE_ASKED_MAX).contains(n));
                match (side, pixels) {
                    (Some(side), Some(pixels)) if sides[side].is_none() => sides[side] = Some(pixels),
                    _ => bad.push(at),
                }
            }
            if !bad.is_empty() {
                return Planned::BadParameters(bad);
            }
            let [width, height] = sides;
            Planned::Job(Job::Picture { source, target, width, height })
        }
    }
}

/// Charset and replacement; else the places of bad parameters.
fn text(parameters: &Parameters<'_>) -> Result<(String, Option<String>), Vec<usize>> {
    let (mut to, mut replacement, mut bad) = (None, None, Vec::new());
    for (at, (name, value)) in parameters.iter().enumerate() {
        if name.eq_ignore_ascii_case(CHARSET) && to.is_none() {
            match Charset::named(value) {
                Some(charset) => to = Some((charset, value.trim().to_ascii_lowercase())),
                None => bad.push(at),
            }
        } else if name.eq_ignore_ascii_case(REPLACEMENT)
            && replacement.is_none()
            && value.len() <= REPLACEMENT_BYTES_MAX
        {
            replacement = Some((at, (*value).to_owned()));
        } else {
            bad.push(at);
        }
    }
    let (charset, to) = to.unwrap_or((Charset::UTF_8, "utf-8".to_owned()));
    // RFC 5259 §7.1: what stands for the others must be in the charset itself.
    if let Some((at, replacement)) = &replacement
        && bad.is_empty()
        && charset.encode(replacement, None).is_err()
    {
        bad.push(*at);
    }
    if bad.is_empty() { Ok((to, replacement.map(|(_, text)| text))) } else { Err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_demanded_is_offered() {
        let offered: Vec<_> = conversions().map(|c| (c.source.media_type(), c.target.media_type())).collect();
        assert!(offered.contains(&("text/plain", "text/plain")), "RFC 5259 §7.1");
        assert_eq!(Target::Plain.parameters(), ["charset", "unknown-character-replacement"]);
        assert!(
            offered.contains(&("image/gif", "image/jpeg")) && !offered.contains(&("image/gif", "text/plain"))
        );
        assert_eq!(offered.len(), 3 + 4 * 3);
    }

    #[test]
    fn parameters_are_checked() {
        let text = |parameters: &Parameters<'_>| plan(Source::Html, "koi8-r", Target::Plain, parameters);
        let job = |to: &str, replacement: Option<&str>| {
            let (from, replacement) = ("koi8-r".to_owned(), replacement.map(str::to_owned));
            Planned::Job(Job::Text { source: Source::Html, from, to: to.to_owned(), replacement })
        };
        assert_eq!(text(&[]), job("utf-8", None));
        assert_eq!(text(&[("Charset", "US-ASCII"), (REPLACEMENT, "?")]), job("us-ascii", Some("?")));
        for (parameters, bad) in [
            (&[("charset", "x-klingon")][..], &[0][..]),
            (&[("charset", "us-ascii"), (REPLACEMENT, "é")], &[1]),
            (&[("pix-x", "1"), ("charset", "utf-8"), ("charset", "utf-8")], &[0, 2]),
            (&[(REPLACEMENT, "an answer that is longer than it may be")], &[0]),
        ] {
            assert_eq!(text(parameters), Planned::BadParameters(bad.to_vec()), "{parameters:?}");
        }
        let picture = |parameters: &Parameters<'_>| plan(Source::Gif, "", Target::Png, parameters);
        assert_eq!(
            picture(&[("PIX-Y", "96")]),
            Planned::Job(Job::Picture {
                source: Source::Gif,
                target: Target::Png,
                width: None,
                height: Some(96)
            })
        );
        for value in ["0", "-1", "8193", "99999999999", "1.5", ""] {
            assert_eq!(picture(&[("pix-x", value)]), Planned::BadParameters(vec![0]), "{value}");
        }
        assert_eq!(picture(&[("depth", "8")]), Planned::BadParameters(vec![0]));
        assert_eq!(plan(Source::Gif, "", Target::Plain, &[]), Planned::Impossible);
        assert_eq!(Job::of_header(&[("pix-x", "1")]), Planned::BadParameters(vec![0]));
    }
}
