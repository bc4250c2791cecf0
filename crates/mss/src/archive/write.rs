//! Writing an export.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::limits::INFOS_PER_REQUEST_MAX;
use model::{
    AclEntry, AnnotationPattern, Error, ErrorKind, FolderSnapshot, MailboxId, MessageRow, SpecialUse, Uid,
    UidSet, Whom,
};
use sha2::{Digest as _, Sha256};
use store_api::{
    Account, AccountState, AnnotationQuery, Annotations, BodyData, DeleteRule, FolderEntry, FolderRule,
    FolderTree, MailStore, ObjectRule,
};

use super::manifest::{
    AclLine, AnnotationLine, Credential, DeviceLine, FolderLine, Head, MessageLine, MetadataLine,
};
use super::{BODIES_AHEAD, FORMAT, ROUNDS_MAX, VERSION};
use crate::tier::{Tier, ctx, told};

/// Octets of a record of the hashes kept aside: UID, SHA-256.
const HASH_BYTES: usize = 36;

/// What an export is to hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Also what is kept of the password.
    pub credentials: bool,
}

/// Where an export goes. Its files may be read by their owner alone.
pub enum Sink {
    /// Files below a directory.
    Directory(PathBuf),
    /// A tar.
    Tar(BufWriter<File>),
}

impl Sink {
    /// A new export at `path`: a tar if the name ends in `.tar`, else a directory, which must be empty or not there.
    ///
    /// # Errors
    /// When something is there, or nothing can be made there.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        if path.extension().is_some_and(|extension| extension == "tar") {
            let file = File::options().write(true).create_new(true).mode(0o600).open(path);
            return Ok(Self::Tar(BufWriter::new(
                file.with_context(|| format!("{} cannot be made", path.display()))?,
            )));
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        anyhow::ensure!(std::fs::read_dir(path)?.next().is_none(), "{} is not empty", path.display());
        Ok(Self::Directory(path.to_owned()))
    }

    /// Writes a file of `size` octets, which `write` writes.
    async fn file<F>(&mut self, name: &str, size: u64, write: F) -> anyhow::Result<()>
    where
        F: AsyncFnOnce(&mut dyn WriteSend) -> anyhow::Result<()>,
    {
        match self {
            Self::Directory(root) => {
                let path = root.join(name);
                if let Some(parent) = path.parent() {
                    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
                }
                let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
                let mut file =
                    BufWriter::new(file.with_context(|| format!("{} cannot be made", path.display()))?);
                write(&mut file).await?;
                file.flush()?;
            }
            Self::Tar(tar) => {
                let mut header = tar::Header::new_ustar();
                header.set_path(name)?;
                header.set_size(size);
                header.set_mode(0o600);
                header.set_mtime(now().try_into().unwrap_or(0));
                header.set_entry_type(tar::EntryType::Regular);
                header.set_cksum();
                tar.write_all(header.as_bytes())?;
                write(tar).await?;
                let padding = (512 - size % 512) % 512;
                tar.write_all(&[0; 512][..padding as usize])?;
            }
        }
        Ok(())
    }

    /// Everything is on the disk.
    fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Directory(root) => File::open(root.join("account.json"))?.sync_all()?,
            Self::Tar(tar) => {
                tar.write_all(&[0; 1024])?;
                tar.flush()?;
                tar.get_ref().sync_all()?;
            }
        }
        Ok(())
    }
}

/// What octets are written to, by a task that may change threads.
trait WriteSend: Write + Send {}
impl<W: Write + Send> WriteSend for W {}

/// A folder as far as it is written.
struct Written {
    number: u32,
    /// As it was when all its messages were written; none before.
    snapshot: Option<Arc<FolderSnapshot>>,
    /// The last UID that was written.
    last: u32,
    /// UIDs and SHA-256 of the messages written, ascending.
    hashes: BufWriter<File>,
}

/// Writes an account, and says what was written.
///
/// # Errors
/// What the store or the disk fails with; what was written is then no export.
pub async fn export(
    tier: &Tier,
    account: &Account,
    sink: &mut Sink,
    options: Options,
) -> anyhow::Result<Head> {
    let store = &tier.store;
    let mut folders: BTreeMap<MailboxId, Written> = BTreeMap::new();
    let mut numbers = 1..;
    let (mut tree, mut of_one_moment) = (store.folders(&ctx(), account.id).await.map_err(told)?, false);
    for _ in 0..ROUNDS_MAX {
        let held: Vec<MailboxId> = tree.folders().iter().filter(|it| !it.noselect).map(|it| it.id).collect();
        folders.retain(|mailbox, _| held.contains(mailbox));
        for mailbox in &held {
            if !folders.contains_key(mailbox) {
                let number = numbers.next().context("too many folders")?;
                let hashes = BufWriter::new(tempfile::tempfile()?);
                folders.insert(*mailbox, Written { number, snapshot: None, last: 0, hashes });
            }
            if let Some(written) = folders.get_mut(mailbox) {
                messages(store, account, *mailbox, written, sink).await?;
            }
        }
        // All folders at once: one version of the account.
        let now = store.folders(&ctx(), account.id).await.map_err(told)?;
        let states = store.status(&ctx(), account.id, &held).await.map_err(told)?;
        let as_written = held.iter().zip(&states).all(|(mailbox, state)| {
            let written = folders.get(mailbox).and_then(|written| written.snapshot.as_ref());
            written
                .zip(state.as_ref())
                .is_some_and(|(written, state)| written.state.highest_modseq == state.highest_modseq)
        });
        let same_tree = now.version == tree.version;
        tree = now;
        if as_written && same_tree {
            of_one_moment = true;
            break;
        }
    }
    let mut lines = Vec::with_capacity(tree.folders().len());
    for entry in tree.folders() {
        lines.push(match folders.remove(&entry.id) {
            Some(written) => folder(store, account, entry, written, sink).await?,
            None if entry.noselect => only_name(entry),
            None => anyhow::bail!("{} came while the export ended; export again", entry.name),
        });
    }
    let metadata = store.metadata(&ctx(), account.id, &[None]).await.map_err(told)?;
    let devices = tier.maintenance.push_devices(&ctx(), account.id).await.map_err(told)?;
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        address: account.address.to_string(),
        disabled: account.state == AccountState::Disabled,
        quota_bytes: account.limits.bytes,
        quota_messages: account.limits.messages,
        strict_objects: account.service.objects == ObjectRule::Strict,
        cpm_folders: account.service.folders == FolderRule::Cpm,
        recursive_delete: account.service.delete == DeleteRule::Recursive,
        created_at: account.created_at,
        exported_at: now(),
        of_one_moment,
        credentials: Credential::of(&account.credentials).filter(|_| options.credentials),
        folders: lines,
        subscriptions: subscriptions(&tree),
        metadata: metadata.first().map(MetadataLine::all).unwrap_or_default(),
        devices: devices.into_iter().map(DeviceLine::of).collect(),
    };
    let text = serde_json::to_vec_pretty(&head)?;
    sink.file("account.json", text.len() as u64, async |out| Ok(out.write_all(&text)?)).await?;
    sink.finish()?;
    Ok(head)
}

fn subscriptions(tree: &FolderTree) -> Vec<String> {
    tree.subscribed().iter().map(ToString::to_string).collect()
}

/// Writes the messages of a folder that are not written yet. Its snapshot is noted once all of it are.
async fn messages(
    store: &Arc<dyn MailStore>,
    account: &Account,
    mailbox: MailboxId,
    written: &mut Written,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let snapshot = match store.folder(&ctx(), account.id, mailbox).await {
        Ok(snapshot) => snapshot,
        // Deleted since; the next look at the tree says so.
        Err(error) if error.kind() == ErrorKind::NoSuchMailbox => return Ok(()),
        Err(error) => return Err(told(error)),
    };
    let rows: Vec<MessageRow> = match written.last.checked_add(1).and_then(Uid::new) {
        Some(from) => snapshot.rows_from(from).copied().collect(),
        None => Vec::new(),
    };
    let mut whole = true;
    let bodies = stream::iter(rows).map(|row| {
        let (store, account) = (store.clone(), account.id);
        async move { (row, store.body(&ctx(), account, mailbox, row.body, None).await) }
    });
    let mut bodies = bodies.buffered(BODIES_AHEAD);
    while let Some((row, body)) = bodies.next().await {
        written.last = row.uid.get();
        match body {
            Ok(body) => {
                let name = format!("folders/{}/{}.eml", written.number, row.uid);
                let hash = octets(sink, &name, &row, body).await?;
                written.hashes.write_all(&row.uid.get().to_be_bytes())?;
                written.hashes.write_all(&hash)?;
            }
            // It went meanwhile, and is in no later snapshot.
            Err(error) if error.kind() == ErrorKind::Expunged => whole = false,
            Err(error) => return Err(told(error).context(format!("UID {} of mailbox {mailbox}", row.uid))),
        }
    }
    if whole {
        written.snapshot = Some(snapshot);
    }
    Ok(())
}

async fn octets(sink: &mut Sink, name: &str, row: &MessageRow, body: BodyData) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(
        body.len() == u64::from(row.size),
        "{name}: the message has {} octets, not {}",
        body.len(),
        row.size
    );
    let mut hash = Sha256::new();
    let size = body.len();
    sink.file(name, size, async |out| {
        match body {
            BodyData::Whole(octets) => {
                hash.update(&octets);
                out.write_all(&octets)?;
            }
            BodyData::Pieces(_, mut pieces) => {
                let mut taken = 0;
                while let Some(piece) = pieces.try_next().await.map_err(|error: Error| told(error))? {
                    hash.update(&piece);
                    out.write_all(&piece)?;
                    taken += piece.len() as u64;
                }
                anyhow::ensure!(taken == size, "the message was cut short");
            }
        }
        Ok(())
    })
    .await?;
    Ok(hash.finalize().to_vec())
}

/// The annotations of messages that all see, and the owner's own. Those of others go by their accounts' numbers, which
/// mean nothing elsewhere.
async fn annotations(
    store: &Arc<dyn MailStore>,
    account: &Account,
    entry: &FolderEntry,
    uids: UidSet,
) -> anyhow::Result<BTreeMap<Uid, Annotations>> {
    let entries = vec![AnnotationPattern::parse(b"*")?];
    let mut query = AnnotationQuery { mailbox: entry.id, uids, entries, scope: None };
    let mut all = BTreeMap::new();
    loop {
        let page = store.annotations(&ctx(), account.id, &query).await.map_err(told)?;
        all.extend(page.messages);
        match page.next {
            Some(next) => query.uids = query.uids.intersection(&UidSet::range(next, Uid::MAX)),
            None => return Ok(all),
        }
    }
}

/// Writes the lines of a folder's messages, and gives its own.
async fn folder(
    store: &Arc<dyn MailStore>,
    account: &Account,
    entry: &FolderEntry,
    mut written: Written,
    sink: &mut Sink,
) -> anyhow::Result<FolderLine> {
    let snapshot = written.snapshot.take();
    let snapshot =
        snapshot.with_context(|| format!("{} lost messages faster than they were read", entry.name))?;
    let mut hashes = written.hashes.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    hashes.rewind()?;
    let mut hashes = BufReader::new(hashes);
    // Of what length the lines are is known only once they are written.
    let mut spool = BufWriter::new(tempfile::tempfile()?);
    let mut record = [0; HASH_BYTES];
    let mut rows = snapshot.rows().peekable();
    while rows.peek().is_some() {
        let page: Vec<&MessageRow> = rows.by_ref().take(INFOS_PER_REQUEST_MAX).collect();
        let uids: UidSet = page.iter().map(|row| row.uid).collect();
        let identities = store.identities(&ctx(), account.id, entry.id, &uids).await.map_err(told)?;
        let annotations = annotations(store, account, entry, uids).await?;
        for row in page {
            loop {
                hashes.read_exact(&mut record)?;
                if record[..4] == row.uid.get().to_be_bytes() {
                    break;
                }
            }
            let known = identities.binary_search_by_key(&row.uid, |(uid, _)| *uid);
            let known = known.ok().map(|at| &identities[at].1);
            let mut line = MessageLine::of(row, &snapshot.state.keywords, known, &record[4..]);
            line.annotations = annotations.get(&row.uid).map(AnnotationLine::all).unwrap_or_default();
            serde_json::to_writer(&mut spool, &line)?;
            spool.write_all(b"\n")?;
        }
    }
    let mut spool = spool.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    let size = spool.stream_position()?;
    spool.rewind()?;
    let name = format!("folders/{}/messages.jsonl", written.number);
    sink.file(&name, size, async |out| {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match spool.read(&mut buffer)? {
                0 => return Ok(()),
                n => out.write_all(&buffer[..n])?,
            }
        }
    })
    .await?;
    let metadata = store.metadata(&ctx(), account.id, &[Some(entry.id)]).await.map_err(told)?;
    let state = &snapshot.state;
    Ok(FolderLine {
        number: written.number,
        name: entry.name.to_string(),
        special_use: entry.special_use.map(|it| SpecialUse::attribute(it).to_owned()),
        noselect: false,
        uid_validity: state.uid_validity.get(),
        uid_next: state.uid_next,
        highest_modseq: state.highest_modseq.0,
        recent_uid: state.recent_uid,
        messages: state.messages,
        bytes: state.bytes,
        metadata: metadata.first().map(MetadataLine::all).unwrap_or_default(),
        acl: acl(store, entry).await?,
    })
}

/// The entries of a folder's list that somebody has something of. One for an address that is another account's now, or
/// nobody's, is left out: an import would give the rights to who has the address then.
async fn acl(store: &Arc<dyn MailStore>, entry: &FolderEntry) -> anyhow::Result<Vec<AclLine>> {
    let mut lines = Vec::with_capacity(entry.acl.entries().len());
    for AclEntry { identifier, account, rights } in entry.acl.entries() {
        if let Whom::Address(address) = &identifier.whom {
            let now = store.account(&ctx(), address).await.map_err(told)?;
            if account.is_none() || now.map(|now| now.id) != *account {
                continue;
            }
        }
        lines.push(AclLine { identifier: identifier.to_string(), rights: rights.to_string() });
    }
    Ok(lines)
}

fn only_name(entry: &FolderEntry) -> FolderLine {
    FolderLine {
        number: 0,
        name: entry.name.to_string(),
        special_use: None,
        noselect: true,
        uid_validity: 0,
        uid_next: 0,
        highest_modseq: 0,
        recent_uid: 0,
        messages: 0,
        bytes: 0,
        metadata: Vec::new(),
        acl: Vec::new(),
    }
}

fn now() -> i64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
