//! Drops files from the page cache, for measurements of a cold start.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise, sync};

/// Most files looked at; a data directory beyond it is only partly evicted.
const FILES_MAX: usize = 1_000_000;

/// Asks the kernel to drop the cached pages of every file below `folder`, after writing back what is dirty. Returns
/// how many files there were. Pages that a process has mapped stay.
///
/// # Errors
/// When `folder` itself cannot be read; files that vanish meanwhile are passed over.
pub fn evict(folder: &Path) -> io::Result<usize> {
    sync();
    let mut open = vec![fs::read_dir(folder)?];
    let mut files = 0;
    while let Some(entries) = open.pop() {
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.extend(fs::read_dir(entry.path()));
            } else if kind.is_file()
                && let Ok(file) = File::open(entry.path())
            {
                // Advice; whether it was followed only shows in the measurement.
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
                files += 1;
                if files == FILES_MAX {
                    return Ok(files);
                }
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_below_is_reached() {
        let folder = std::env::temp_dir().join(format!("loadtest-evict-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("one"), "1").unwrap();
        fs::write(folder.join("a/b/two"), "2").unwrap();
        assert_eq!(evict(&folder).unwrap(), 2);
        assert_eq!(fs::read(folder.join("a/b/two")).unwrap(), b"2");
        fs::remove_dir_all(&folder).unwrap();
        assert!(evict(&folder).is_err());
    }
}
