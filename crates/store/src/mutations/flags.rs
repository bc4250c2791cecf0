//! STORE: flags and keywords of messages change.

use async_trait::async_trait;
use model::{AccountId, Error, ErrorKind, Flags, MailboxId, MessageRow, Uid, UidSet};
use store_api::{FlagAction, StoreFlags, StoreOutcome};

use crate::combiner::{Cost, Mutation};
use crate::failure::Failure;
use crate::records::ChangeKind;
use crate::shared::Shared;
use crate::work::Work;
use crate::work::folder::{Tally, entry};
use crate::work::origin::{Origin, flag_names};
use crate::work::page::{self, PageRoom};

/// A change of flags; at most a page of it is done.
pub(crate) struct ChangeFlags {
    pub(crate) request: StoreFlags,
    /// Flags that who asks may not change: they stay as they are.
    pub(crate) kept: Flags,
    pub(crate) by: Origin,
}

/// What a page of it did.
pub(crate) struct FlagsPage {
    pub(crate) outcome: StoreOutcome,
    /// Messages still to come.
    pub(crate) rest: UidSet,
}

#[async_trait]
impl Mutation for ChangeFlags {
    type Outcome = FlagsPage;

    fn cost(&self) -> Cost {
        // A row takes about 20 octets of its block, and a block touched is written whole.
        page::cost(Some(&self.request.uids), 4_096, 40)
    }

    fn folders(&self, _: &Shared, _: AccountId, hints: &mut Vec<MailboxId>) {
        hints.push(self.request.mailbox);
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<FlagsPage, Failure> {
        let StoreFlags { mailbox, ref uids, ref change, unchanged_since } = self.request;
        work.load_rows(mailbox, Some(uids)).await?;
        let folder = work.folder(mailbox)?;
        let mut keywords = folder.state.keywords.clone();
        let given = if change.action == FlagAction::Remove {
            // A keyword the folder does not know is on no message.
            let known = change.keywords.iter().filter_map(|keyword| keywords.find(keyword));
            Some(known.fold(Flags::default(), Flags::union))
        } else {
            folder.keyword_flags(&change.keywords, Flags::default(), &mut keywords)
        };
        let given = match given {
            Some(given) => Some(given),
            None => {
                work.load_rows(mailbox, None).await?;
                work.folder(mailbox)?.keyword_flags(&change.keywords, Flags::default(), &mut keywords)
            }
        };
        let given =
            given.ok_or_else(|| Error::new(ErrorKind::Limit, "the mailbox has no room for more keywords"))?;
        let given = given.union(change.flags.system_only());

        let folder = work.folder(mailbox)?;
        let before = folder.state.highest_modseq;
        let mut outcome = StoreOutcome { modseq: before, modseq_before: before, ..StoreOutcome::default() };
        let mut changed: Vec<MessageRow> = Vec::new();
        let (mut added, mut removed) = (Flags::default(), Flags::default());
        // Whoever reads or deletes is noted, if a device said so or may have said so before.
        let device = self.by.device.as_ref();
        let noted = device.is_some() || folder.identities.any();
        let told = Flags::SEEN.union(Flags::DELETED);
        let mut turned: Vec<(Uid, Flags, Flags)> = Vec::new();
        let (mut tally, mut room, mut page_end) = (Tally::default(), PageRoom::default(), None);
        folder.for_rows(Some(uids), |row| {
            if !room.take(row.uid) {
                page_end = Some(row.uid);
                return false;
            }
            // RFC 7162 §3.1.3: a message changed since is left alone, whether or not this would change it.
            if unchanged_since.is_some_and(|since| row.modseq > since) {
                outcome.modified.insert(row.uid);
                return true;
            }
            let flags = match change.action {
                FlagAction::Add => row.flags.union(given),
                FlagAction::Remove => row.flags.without(given),
                FlagAction::Replace => given.union(Flags(row.flags.0 & self.kept.0)),
            };
            if flags != row.flags {
                added = added.union(flags.without(row.flags));
                removed = removed.union(row.flags.without(flags));
                if noted && (flags.0 ^ row.flags.0) & told.0 != 0 {
                    turned.push((row.uid, row.flags, flags));
                }
                tally.count(row, -1);
                let row = MessageRow { flags, ..*row };
                tally.count(&row, 1);
                changed.push(row);
            }
            true
        });
        if !changed.is_empty() {
            work.load_identities(mailbox, turned.iter().map(|(uid, ..)| *uid)).await?;
            let folder = work.folder(mailbox)?;
            for (uid, before, after) in turned {
                folder.identities.flags_changed(uid, before, after, device);
            }
            let modseq = folder.next_modseq();
            for row in &mut changed {
                row.modseq = modseq;
            }
            outcome.changed = changed.iter().map(|row| row.uid).collect();
            outcome.modseq = modseq;
            let names = [added, removed].map(|flags| flag_names(flags, &keywords));
            folder.state.keywords = keywords;
            folder.replace_rows(&changed);
            let changed = outcome.changed.clone();
            let noted = entry(modseq, ChangeKind::Flags, changed, UidSet::new(), &self.by);
            let [added, removed] = names;
            folder.note(noted.with_flags(added, removed));
            work.tally(mailbox, tally)?;
        }
        let rest = match page_end {
            Some(uid) => uids.intersection(&UidSet::range(uid, Uid::MAX)),
            None => UidSet::new(),
        };
        Ok(FlagsPage { outcome, rest })
    }
}
