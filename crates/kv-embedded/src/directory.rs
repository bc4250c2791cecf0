//! The directory of an engine: its lock, its format, and where the store lies in it.
//!
//! ```text
//! LOCK      held (flock) while an engine is open; holds the process id of the holder
//! FORMAT    one line: what this directory is, and the version of its layout
//! store/    the storage engine's own files
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::OpenError;

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const STORE: &str = "store";
const STORE_NEW: &str = "store.new";
/// First word of the format line.
const FORMAT_NAME: &str = "mss-kv-embedded";
/// The layout this code writes and reads.
const FORMAT_VERSION: u32 = 1;

/// A locked directory; dropping it gives the lock back.
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Whether there is, or was begun, a store in the directory. Looks only.
    pub(crate) fn is_in(path: &Path) -> bool {
        path.join(FORMAT).is_file()
    }

    /// Whether a new store may be made here: an empty directory, also one that is a mount point, or one in which
    /// making it was begun. Any other belongs to somebody else.
    fn check_free(path: &Path) -> Result<(), OpenError> {
        if Self::is_in(path) {
            return Ok(());
        }
        for entry in std::fs::read_dir(path).map_err(OpenError::io("list", path))? {
            let name = entry.map_err(OpenError::io("list", path))?.file_name();
            if ![LOCK, FORMAT, STORE, STORE_NEW, "lost+found"].iter().any(|ours| name == *ours) {
                return Err(OpenError::Foreign {
                    directory: path.to_owned(),
                    found: name.to_string_lossy().chars().take(80).collect(),
                });
            }
        }
        Ok(())
    }

    /// Creates the directory if need be, for its owner alone, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, OpenError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(OpenError::io("create", path))?;
        Self::check_free(path)?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(OpenError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let holder = match lock.read_to_string(&mut holder) {
                    Ok(_) => holder.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(OpenError::Locked { directory: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(OpenError::io("lock", &lock_path)(source)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(OpenError::io("write", &lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The path the engine was opened with.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store lies.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Reads the format. Whether the directory holds a store; `false` for a new one.
    pub(crate) fn check_format(&self) -> Result<bool, OpenError> {
        let path = self.path.join(FORMAT);
        let exists = self.store().try_exists().map_err(OpenError::io("look for", &self.path))?;
        let line = match std::fs::read_to_string(&path) {
            Ok(line) => line,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !exists => return Ok(false),
            Err(error) => return Err(OpenError::io("read", &path)(error)),
        };
        let version = line.trim().strip_prefix(FORMAT_NAME).and_then(|rest| rest.trim().parse::<u32>().ok());
        if version != Some(FORMAT_VERSION) {
            let found = line.trim().chars().take(80).collect();
            return Err(OpenError::Format { directory: self.path.clone(), found, expected: FORMAT_VERSION });
        }
        Ok(exists)
    }

    /// Makes a new store: `create` builds it under another name, so that a process killed halfway leaves
    /// nothing that looks like one.
    pub(crate) fn create_store(
        &self,
        create: impl FnOnce(&Path) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let new = self.path.join(STORE_NEW);
        match std::fs::remove_dir_all(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::io("remove", &new)(error));
            }
            _ => {}
        }
        create(&new)?;
        let format = self.path.join(FORMAT);
        File::create(&format)
            .and_then(|mut file| {
                writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION}")?;
                file.sync_all()
            })
            .map_err(OpenError::io("write", &format))?;
        self.sync()?;
        std::fs::rename(&new, self.store()).map_err(OpenError::io("rename", &new))?;
        self.sync()?;
        // The directory itself may be new: a power cut must not take its entry.
        let path = std::path::absolute(&self.path).map_err(OpenError::io("find", &self.path))?;
        path.parent().map_or(Ok(()), sync_directory)
    }

    fn sync(&self) -> Result<(), OpenError> {
        sync_directory(&self.path)
    }
}

fn sync_directory(path: &Path) -> Result<(), OpenError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(OpenError::io("sync", path))
}
