//! What has been \Deleted for long goes, without anybody's EXPUNGE.
//!
//! Since when a message has \Deleted stands nowhere. Known is that it changed last at its MODSEQ, and the folder's log has
//! the time of each. So those go that have \Deleted and a MODSEQ given long ago; one that was changed since, in whatever
//! way, waits anew. Of what the log no longer has, the folder's note tells one MODSEQ and a time ([`DeletedNote`]). Where
//! neither says that a message is old enough, it stays, and the note that takes the place of that one says since when.

use async_trait::async_trait;
use kv::{RangeRequest, ReadMode};
use model::{AccountId, Flags, MailboxId, MessageRow, ModSeq};

use crate::combiner::{Cost, Mutation};
use crate::failure::Failure;
use crate::limits::{REAP_LOGS_MAX, REAP_MESSAGES_MAX};
use crate::mutations::expunge::remove;
use crate::records::{DeletedNote, LogBatch};
use crate::shared::Shared;
use crate::work::Work;
use crate::work::origin::Origin;
use crate::work::page::{self, PageRoom};

/// The messages of a folder that had \Deleted before a time; at most a page of them goes.
pub(crate) struct Reap {
    pub(crate) mailbox: MailboxId,
    /// The day under which the folder's note was found.
    pub(crate) day: u32,
    /// What changed last at this time or before it is old enough, seconds since 1970-01-01 UTC.
    pub(crate) before: i64,
}

/// What a page of it did.
#[derive(Debug, Default)]
pub(crate) struct ReapPage {
    /// Messages that went.
    pub(crate) messages: u64,
    /// The day of the note to go on with at once; none when the folder has nothing more that is due.
    pub(crate) further: Option<u32>,
}

/// How far back the changes are old enough.
struct Bound {
    /// What has a MODSEQ up to this one is.
    modseq: ModSeq,
    /// When the first change after that was made, if the log was read so far.
    ended: Option<i64>,
}

#[async_trait]
impl Mutation for Reap {
    type Outcome = ReapPage;

    fn cost(&self) -> Cost {
        Cost { messages: REAP_MESSAGES_MAX, ..page::cost(None, 4_096 + REAP_MESSAGES_MAX * 16, 0) }
    }

    fn folders(&self, _: &Shared, _: AccountId, hints: &mut Vec<MailboxId>) {
        hints.push(self.mailbox);
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<ReapPage, Failure> {
        let (mailbox, now) = (self.mailbox, work.now);
        let key = work.shared.keys.deleted(self.day, work.account, mailbox);
        let stored = work.trx.get(&key, ReadMode::Serializable).await?;
        let folder = work.open_folder(mailbox).await?;
        let Some(stored) = stored else {
            // Another sweeper was here, or the last \Deleted went.
            return Ok(ReapPage::default());
        };
        if folder.deleted_day != self.day {
            // A note that the folder does not know of leads nowhere.
            work.trx.clear(&key);
            work.touch();
            return Ok(ReapPage::default());
        }
        if folder.deleted_note.is_some() || folder.state.deleted == 0 {
            // Dealt with in this transaction already, or by the counter there is nothing: then the note goes.
            folder.dirty |= folder.state.deleted == 0;
            return Ok(ReapPage::default());
        }
        // One that cannot be read tells nothing, and the log alone does.
        let note = DeletedNote::decode(&stored).unwrap_or(DeletedNote { modseq: ModSeq(0), at: i64::MAX });
        let bound = self.bound(work, note).await?;
        work.load_rows(mailbox, None).await?;

        let (mut rows, mut room) = (Vec::<MessageRow>::new(), PageRoom::default());
        let (mut more, mut doubted, mut first) = (false, false, None::<ModSeq>);
        work.folder(mailbox)?.for_rows(None, |row| {
            if row.flags.contains(Flags::DELETED) {
                if row.modseq > bound.modseq {
                    first = Some(first.map_or(row.modseq, |first| first.min(row.modseq)));
                } else if row.saved_at > self.before {
                    // What was not here before cannot have been \Deleted before: somebody's clock was behind.
                    doubted = true;
                } else if rows.len() == REAP_MESSAGES_MAX || !room.take(row.uid) {
                    more = true;
                } else {
                    rows.push(*row);
                }
            }
            !more
        });
        // Where none has \Deleted any more, the note goes by itself; and where only the counter has some, a check says so.
        let next = match first {
            Some(first) if !more && !doubted => self.next(work, first, &bound).await?,
            _ => DeletedNote { modseq: work.folder(mailbox)?.state.highest_modseq, at: now },
        };
        let mut reaped = ReapPage::default();
        if !rows.is_empty() {
            let removed = remove(work, mailbox, rows, &Origin::default()).await?;
            (reaped.messages, more) = (removed.uids.len(), more || removed.more);
        }
        if more {
            reaped.further = Some(self.day);
            return Ok(reaped);
        }
        reaped.further = (next.at <= self.before).then(|| next.day());
        let folder = work.folder(mailbox)?;
        (folder.deleted_note, folder.dirty) = (Some(next), true);
        Ok(reaped)
    }
}

impl Reap {
    /// What is old enough by the note, and by the log from there on, as much of it as one transaction looks at.
    async fn bound(&self, work: &mut Work<'_>, note: DeletedNote) -> Result<Bound, Failure> {
        let known = if note.at <= self.before { note.modseq } else { ModSeq(0) };
        let mut bound = Bound { modseq: known, ended: None };
        let range = work.shared.keys.log_after(work.account, self.mailbox, known);
        let request = RangeRequest::new(range.begin, range.end).limit(REAP_LOGS_MAX);
        // Every change of the folder is ordered by its state.
        let page = work.trx.get_range(&request, ReadMode::Snapshot).await?;
        for pair in &page.pairs {
            // One that cannot be read tells no time.
            let Some(batch) = LogBatch::decode(&pair.value) else { break };
            let Some(last) = batch.entries.last() else { break };
            if batch.at > self.before {
                bound.ended = Some(batch.at);
                break;
            }
            bound.modseq = bound.modseq.max(last.modseq);
        }
        Ok(bound)
    }

    /// The note of a folder whose first message with \Deleted that stays has the MODSEQ `first`: as of the time of that
    /// change, or as of now where the log does not tell it.
    async fn next(&self, work: &mut Work<'_>, first: ModSeq, bound: &Bound) -> Result<DeletedNote, Failure> {
        let range = work.shared.keys.log_after(work.account, self.mailbox, ModSeq(first.0.saturating_sub(1)));
        let request = RangeRequest::new(range.begin, range.end).limit(1);
        let page = work.trx.get_range(&request, ReadMode::Snapshot).await?;
        let batch = page.pairs.first().and_then(|pair| LogBatch::decode(&pair.value));
        let noted = batch.filter(|batch| batch.entries.iter().any(|entry| entry.modseq == first));
        let noted = noted.and_then(|batch| {
            let modseq = batch.entries.last()?.modseq;
            // What comes later in the log is not older, whatever the clock of its writer said.
            Some(DeletedNote { modseq, at: batch.at.max(bound.ended.unwrap_or(batch.at)) })
        });
        let now = DeletedNote { modseq: work.folder(self.mailbox)?.state.highest_modseq, at: work.now };
        Ok(noted.filter(|noted| noted.at <= now.at).unwrap_or(now))
    }
}
