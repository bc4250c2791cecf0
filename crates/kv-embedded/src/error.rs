//! Why a directory could not be opened.

use std::path::{Path, PathBuf};

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another engine has it open: in another process, or in this one, where a transaction of an engine that was
    /// closed also counts.
    #[error(
        "{} is in use{}: one engine may have a directory open",
        directory.display(),
        holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The process that holds it, as it wrote down.
        holder: Option<u32>,
    },
    /// The directory has files and no store: it is somebody else's.
    #[error("{} has {found:?} in it and no store: name an empty directory", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// The directory was written by another version of this engine, or by something else.
    #[error("{}: the format is {found:?}, this version reads format {expected}", directory.display())]
    Format {
        /// The directory.
        directory: PathBuf,
        /// The format line found.
        found: String,
        /// The version this code reads.
        expected: u32,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The store in the directory cannot be read.
    #[error("cannot open the store in {}", directory.display())]
    Store {
        /// The directory.
        directory: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
