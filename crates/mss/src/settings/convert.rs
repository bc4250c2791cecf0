//! Settings of CONVERT.

use serde::{Deserialize, Serialize};

/// `[convert]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Convert {
    /// Worker processes at most, started as they are needed; 0 for no CONVERT.
    pub workers: usize,
    /// Memory of a worker, beside what its program takes, bytes.
    pub memory_bytes_max: u64,
    /// Processor time of one conversion, seconds.
    pub cpu_seconds_max: u64,
    /// Seconds that one conversion may take, and as many that it may wait for a worker.
    pub seconds_max: u64,
    /// The largest part that is converted, decoded, bytes.
    pub source_bytes_max: u64,
    /// Messages that one command converts.
    pub messages_max: usize,
    /// Parts of each message that one command converts.
    pub parts_max: usize,
    /// What pictures become when the client leaves that to the server.
    pub picture: Picture,
    /// Results that are kept, bytes.
    pub cache_bytes: u64,
}

/// A kind of picture, by the name that operators use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// image/jpeg
    Jpeg,
    /// image/png
    Png,
    /// image/webp
    Webp,
}

impl Default for Convert {
    fn default() -> Self {
        Self {
            workers: 2,
            memory_bytes_max: 512 << 20,
            cpu_seconds_max: 5,
            seconds_max: 20,
            source_bytes_max: 32 << 20,
            messages_max: 64,
            parts_max: 8,
            picture: Picture::Jpeg,
            cache_bytes: 64 << 20,
        }
    }
}

impl Convert {
    /// What the IMAP server converts with; none when it does not.
    pub fn conversion(&self) -> Option<imap_server::Conversion> {
        if self.workers == 0 {
            return None;
        }
        let converter = convert::Converter::new(convert::Options {
            // The binary that runs, also when another was put in its place.
            program: ("/proc/self/exe".into(), vec!["convert-worker".into()]),
            workers: self.workers,
            memory_bytes_max: self.memory_bytes_max,
            cpu_seconds_max: self.cpu_seconds_max,
            time_max: std::time::Duration::from_secs(self.seconds_max),
            source_bytes_max: self.source_bytes_max,
            cache_bytes: self.cache_bytes,
        });
        let picture = match self.picture {
            Picture::Jpeg => convert::Target::Jpeg,
            Picture::Png => convert::Target::Png,
            Picture::Webp => convert::Target::WebP,
        };
        Some(imap_server::Conversion {
            converter,
            messages_max: self.messages_max,
            parts_max: self.parts_max,
            picture,
        })
    }
}
