//! Reading the files of an export.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::manifest::{Head, MessageLine};
use super::{FORMAT, HEAD_BYTES_MAX, VERSION};

/// Octets of a line of `messages.jsonl`, at most: 62 flags of the longest names fit.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Whether `path` is an export rather than anything else: a directory, or a file that begins as a tar does.
///
/// # Errors
/// When it cannot be read.
pub fn is_export(path: &Path) -> anyhow::Result<bool> {
    if path.as_os_str() == "-" {
        return Ok(false);
    }
    let cannot = || format!("{} cannot be read", path.display());
    if std::fs::metadata(path).with_context(cannot)?.is_dir() {
        return Ok(true);
    }
    let mut first = Vec::with_capacity(512);
    File::open(path).and_then(|file| file.take(512).read_to_end(&mut first)).with_context(cannot)?;
    // POSIX.1-1988: the magic of a header.
    Ok(first.get(257..262) == Some(b"ustar"))
}

/// The files of an export.
pub enum Source {
    /// Below a directory.
    Directory(PathBuf),
    /// In a tar.
    Tar(Tar),
}

/// Where the files of a tar are: 16 octets of memory a message.
pub struct Tar {
    path: PathBuf,
    /// Offset and size of the files that are no messages.
    files: HashMap<String, (u64, u64)>,
    /// UID, size and offset of the messages of each folder.
    messages: BTreeMap<u32, Vec<(u32, u32, u64)>>,
}

impl Source {
    /// Looks what there is.
    ///
    /// # Errors
    /// When a tar cannot be read.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let cannot = || format!("{} cannot be read as a tar", path.display());
        let mut tar = Tar { path: path.to_owned(), files: HashMap::new(), messages: BTreeMap::new() };
        let mut archive = tar::Archive::new(File::open(path).with_context(cannot)?);
        for entry in archive.entries_with_seek().with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let name = entry.path().with_context(cannot)?.to_string_lossy().into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            let (at, size) = (entry.raw_file_position(), entry.size());
            match message_of(&name).zip(u32::try_from(size).ok()) {
                Some(((folder, uid), size)) => tar.messages.entry(folder).or_default().push((uid, size, at)),
                None if entry.header().entry_type().is_file() => drop(tar.files.insert(name, (at, size))),
                None => {}
            }
        }
        for messages in tar.messages.values_mut() {
            messages.sort_unstable();
        }
        Ok(Self::Tar(tar))
    }

    /// `account.json`.
    ///
    /// # Errors
    /// When it is not there, so that the export was interrupted; when it is of a later release or none at all.
    pub fn head(&self) -> anyhow::Result<Head> {
        let file = self.file("account.json").context(
            "there is no account.json: this is no export of an account, or one that was interrupted",
        )?;
        let mut text = Vec::new();
        file.take(HEAD_BYTES_MAX).read_to_end(&mut text)?;
        let head: Head = serde_json::from_slice(&text).context("account.json is not that of an export")?;
        anyhow::ensure!(head.format == FORMAT, "account.json is not that of an export");
        anyhow::ensure!(
            head.version == VERSION,
            "the export has version {}, and this release reads {VERSION} alone",
            head.version
        );
        Ok(head)
    }

    /// The lines of a folder's messages.
    ///
    /// # Errors
    /// When there are none.
    pub fn lines(&self, folder: u32) -> anyhow::Result<impl Iterator<Item = anyhow::Result<MessageLine>>> {
        let name = format!("folders/{folder}/messages.jsonl");
        let mut file = BufReader::new(self.file(&name)?);
        let (mut number, mut ended) = (0u64, false);
        Ok(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            number += 1;
            let mut text = Vec::new();
            let line = match file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) => serde_json::from_slice(&text).with_context(|| format!("{name}: line {number}")),
                Err(error) => Err(error).with_context(|| name.clone()),
            };
            ended = line.is_err();
            Some(line)
        }))
    }

    /// The octets of a message.
    ///
    /// # Errors
    /// When they are not there.
    pub fn message(&self, folder: u32, uid: u32) -> anyhow::Result<Box<dyn Read + Send>> {
        let name = || format!("folders/{folder}/{uid}.eml");
        let Self::Tar(tar) = self else { return self.file(&name()) };
        let messages = tar.messages.get(&folder).map_or(&[][..], Vec::as_slice);
        // The last one of a UID counts, as in any tar.
        let at = messages.partition_point(|(candidate, ..)| *candidate <= uid);
        let found = at.checked_sub(1).map(|at| messages[at]).filter(|(candidate, ..)| *candidate == uid);
        let (_, size, at) = found.with_context(|| format!("{} is missing", name()))?;
        tar.part(at, u64::from(size))
    }

    fn file(&self, name: &str) -> anyhow::Result<Box<dyn Read + Send>> {
        match self {
            Self::Directory(root) => {
                let file = File::open(root.join(name)).with_context(|| format!("{name} cannot be read"))?;
                Ok(Box::new(file))
            }
            Self::Tar(tar) => {
                let (at, size) = *tar.files.get(name).with_context(|| format!("{name} is missing"))?;
                tar.part(at, size)
            }
        }
    }
}

impl Tar {
    fn part(&self, at: u64, size: u64) -> anyhow::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(at))?;
        Ok(Box::new(file.take(size)))
    }
}

/// Folder and UID in the name of a message's file.
fn message_of(name: &str) -> Option<(u32, u32)> {
    let (folder, file) = name.strip_prefix("folders/")?.split_once('/')?;
    Some((folder.parse().ok()?, file.strip_suffix(".eml")?.parse().ok()?))
}
