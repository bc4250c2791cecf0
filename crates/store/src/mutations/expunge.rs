//! EXPUNGE: messages with \Deleted go.

use async_trait::async_trait;
use model::{AccountId, Flags, MailboxId, MessageRow, ModSeq, Uid, UidSet};

use crate::combiner::{Cost, Mutation};
use crate::failure::Failure;
use crate::records::ChangeKind;
use crate::shared::Shared;
use crate::work::Work;
use crate::work::folder::{Tally, entry};
use crate::work::origin::Origin;
use crate::work::page::{self, PageRoom};

/// Which messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those with \Deleted.
    Deleted,
    /// All that are named: copies that are taken back.
    All,
}

/// Messages to remove; at most a page of them is.
pub(crate) struct Expunge {
    pub(crate) mailbox: MailboxId,
    pub(crate) which: Which,
    pub(crate) within: Option<UidSet>,
    pub(crate) by: Origin,
}

/// What a page of it did.
pub(crate) struct ExpungePage {
    pub(crate) uids: UidSet,
    pub(crate) modseq: ModSeq,
    /// Whether messages are left that may have to go.
    pub(crate) more: bool,
}

#[async_trait]
impl Mutation for Expunge {
    type Outcome = ExpungePage;

    fn cost(&self) -> Cost {
        page::cost(self.within.as_ref(), 4_096, 16)
    }

    fn folders(&self, _: &Shared, _: AccountId, hints: &mut Vec<MailboxId>) {
        hints.push(self.mailbox);
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<ExpungePage, Failure> {
        let folder = work.open_folder(self.mailbox).await?;
        let nothing = ExpungePage { uids: UidSet::new(), modseq: folder.state.highest_modseq, more: false };
        // The counter spares the rows: most EXPUNGEs and all CLOSEs of a reader find nothing.
        if self.which == Which::Deleted && folder.state.deleted == 0 {
            return Ok(nothing);
        }
        work.load_rows(self.mailbox, self.within.as_ref()).await?;
        let folder = work.folder(self.mailbox)?;
        let mut rows: Vec<MessageRow> = Vec::new();
        let (mut more, mut room) = (false, PageRoom::default());
        folder.for_rows(self.within.as_ref(), |row| {
            if self.which == Which::All || row.flags.contains(Flags::DELETED) {
                more = !room.take(row.uid);
                if !more {
                    rows.push(*row);
                }
            }
            !more
        });
        if rows.is_empty() {
            return Ok(nothing);
        }
        let removed = remove(work, self.mailbox, rows, &self.by).await?;
        Ok(ExpungePage { more: more || removed.more, ..removed })
    }
}

/// Removes rows that are there, ascending and not none: as many of the first as a page has room for with their
/// annotations. Whether there are more is as of these alone.
pub(crate) async fn remove(
    work: &mut Work<'_>,
    mailbox: MailboxId,
    mut rows: Vec<MessageRow>,
    by: &Origin,
) -> Result<ExpungePage, Failure> {
    let named: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
    let loaded = work.load_annotations(mailbox, &named).await?;
    let more = loaded < rows.len();
    rows.truncate(loaded);
    work.load_identities(mailbox, rows.iter().map(|row| row.uid)).await?;
    let folder = work.folder(mailbox)?;
    let modseq = folder.next_modseq();
    let (gone, uids, tally) = removal(&rows);
    folder.remove_rows(&gone);
    folder.identities.forget(&gone);
    folder.annotations.forget(&gone);
    folder.note(entry(modseq, ChangeKind::Expunge, UidSet::new(), uids.clone(), by));
    work.tally(mailbox, tally)?;
    work.count_annotations(mailbox)?;
    work.release(rows.iter().map(|row| row.body));
    Ok(ExpungePage { uids, modseq, more })
}

/// What it takes to remove rows: their UIDs, twice, and what the counters lose.
pub(crate) fn removal(rows: &[MessageRow]) -> (Vec<Uid>, UidSet, Tally) {
    let mut tally = Tally::default();
    for row in rows {
        tally.count(row, -1);
    }
    let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
    let set = uids.iter().copied().collect();
    (uids, set, tally)
}
