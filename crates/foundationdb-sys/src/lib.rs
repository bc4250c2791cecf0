//! FoundationDB's C client, opened at run time.
//!
//! The published crate of this name links `libfdb_c` and needs libclang to build: a binary with it neither builds nor
//! starts where the library is missing. This one has the same names for `foundationdb` (`[patch.crates-io]`), but finds
//! every function in a table that [`load`] fills, so that one binary serves machines with and without FoundationDB.
//!
//! [`load`] comes before anything else. Until it succeeds no handle can exist, and the functions that take none answer
//! [`NOT_LOADED`]. A library stays open for the life of the process.
//!
//! What is here is the part of the interface that `foundationdb` 0.11 uses; names, numbers and layouts are those of
//! FoundationDB 7.3, unchanged since 7.1. Deliberately absent: tenants, clusters as objects (before 6.1), blob granules.
#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
#![allow(missing_docs, reason = "names of the C interface, documented by FoundationDB")]
#![allow(unsafe_code, reason = "a foreign interface; each use says why it is sound")]

mod functions;
mod options;
mod types;

use std::path::{Path, PathBuf};

pub use functions::*;
pub use options::*;
pub use types::*;

/// API version of the names and layouts here. The version asked of the library is chosen at run time.
pub const FDB_API_VERSION: u32 = 730;

/// Name under which the dynamic loader finds an installed client.
pub const LIBRARY_NAME: &str = "libfdb_c.so";

/// Why the library could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such library, or it is none.
    #[error("{} cannot be opened: {detail}", library.display())]
    Open {
        /// As asked for.
        library: PathBuf,
        /// What the dynamic loader said.
        detail: String,
    },
    /// It is a library, but lacks a function.
    #[error(
        "{} is no client of FoundationDB 7.1 or newer: {name} is missing in it ({detail})",
        library.display()
    )]
    Symbol {
        /// As asked for.
        library: PathBuf,
        /// The function.
        name: &'static str,
        /// What the dynamic loader said.
        detail: String,
    },
    /// Another library was opened before; a process has one.
    #[error("{} cannot be opened: this process has opened {}", library.display(), open.display())]
    Another {
        /// As asked for.
        library: PathBuf,
        /// The one that is open.
        open: PathBuf,
    },
}

/// The dynamic loader's own words: the error's text says only which call failed.
fn told(error: libloading::Error) -> String {
    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The open library.
pub(crate) struct Loaded {
    path: PathBuf,
    functions: Functions,
    // Held for its mapping, never closed.
    _library: libloading::Library,
}

/// Opens the client library at `path`, or wherever the dynamic loader finds a bare name ([`LIBRARY_NAME`]), and finds
/// every function in it. Opening the same one again does nothing.
///
/// # Errors
/// [`LoadError`], in one sentence with the loader's own words. Another library may be tried after a failure.
///
/// # Safety
/// The library must be FoundationDB's client: opening it runs its constructors, and its functions are called by the
/// signatures in its header.
pub unsafe fn load(path: &Path) -> Result<(), LoadError> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(loaded) = LOADED.get() {
        return if loaded.path == path {
            Ok(())
        } else {
            Err(LoadError::Another { library: path.to_owned(), open: loaded.path.clone() })
        };
    }
    // SAFETY: the caller vouches for the library.
    let library = unsafe { libloading::Library::new(path) }
        .map_err(|error| LoadError::Open { library: path.to_owned(), detail: told(error) })?;
    let functions = Functions::find(&library, |name, error| LoadError::Symbol {
        library: path.to_owned(),
        name,
        detail: told(error),
    })?;
    // Only this function sets it, one call at a time.
    let _ = LOADED.set(Loaded { path: path.to_owned(), functions, _library: library });
    Ok(())
}

/// `foundationdb` guards what depends on the version of the interface with this: everything up to 7.3 is there.
#[macro_export]
macro_rules! if_cfg_api_versions {
    (min = 510, max = 600 => { $($old:tt)* } else { $($new:tt)* }) => {{ $($new)* }};
    (min = 510, max = 600 => $($old:tt)*) => {};
    (min = $min:tt => { $($new:tt)* } else { $($old:tt)* }) => {{ $($new)* }};
    (min = $min:tt => $($new:tt)*) => { $($new)* };
}
