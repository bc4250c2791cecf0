//! What a client asks.

use std::collections::BTreeSet;

use model::{AccountId, ErrorKind, Flags, MailboxId, MailboxName, Uid, UidSet};
use rand::Rng;
use store_api::{
    AppendBody, AppendMessage, AppendRequest, Ctx, FlagAction, FlagChange, MailStore, Requestor, StoreFlags,
};

use super::changes::{message, status_item};
use super::{FLEETING, FOLDERS, Phone};
use crate::history::{Folder, Row};
use crate::link::Link;
use crate::net::FRONT_ENDS;
use crate::view::any;
use crate::wire::Lost;

impl Phone {
    pub(super) async fn search(&mut self) -> Result<(), Lost> {
        let conversation = self.picks(&["c0", "c1", "c2"]);
        let (program, finds): (String, fn(&Row, &str) -> bool) = match self.chance.random_range(0..4) {
            0 => ("FLAGGED".to_owned(), |row, _| row.flags.split(' ').any(|flag| flag == "\\Flagged")),
            1 => ("UNSEEN".to_owned(), |row, _| row.flags.split(' ').all(|flag| flag != "\\Seen")),
            2 => (format!("HEADER Conversation-ID {conversation}"), |row, c| row.token.ends_with(c)),
            _ => (format!("TEXT {conversation}."), |row, c| row.token.ends_with(c)),
        };
        let known = |phone: &Self| -> BTreeSet<u32> {
            phone.view.iter().flat_map(|view| view.rows.keys().copied()).collect()
        };
        let before = known(self);
        let done = self.command(&format!("UID SEARCH {program}")).await?;
        if !done.answer.ok() {
            return Ok(());
        }
        // Messages that the session is not yet told of may be left out, and those told gone may be found still.
        let known: BTreeSet<u32> = known(self).intersection(&before).copied().collect();
        let found: BTreeSet<u32> = done
            .answer
            .untagged
            .iter()
            .filter_map(|line| line.strip_prefix("SEARCH"))
            .flat_map(|line| line.split('(').next().unwrap_or_default().split_whitespace())
            .filter_map(|uid| uid.parse().ok())
            .collect();
        let right = |folder: &Folder| {
            let all: BTreeSet<u32> =
                folder.rows.iter().filter(|(_, row)| finds(row, conversation)).map(|(uid, _)| *uid).collect();
            found.is_subset(&all) && all.intersection(&known).all(|uid| found.contains(uid))
        };
        let states = self.states(done.window);
        if !any(&states, right) {
            self.broken(format_args!("SEARCH {program} found {found:?} of {known:?} in {states:?}"));
        }
        Ok(())
    }

    pub(super) async fn status(&mut self) -> Result<(), Lost> {
        let name = self.some_name();
        let items = "MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ UNSEEN";
        let done = self.command(&format!("STATUS {name} ({items})")).await?;
        if !done.answer.ok() {
            self.refused(name, &done);
            return Ok(());
        }
        let Some(line) = done.answer.untagged.iter().find(|line| line.starts_with("STATUS ")) else {
            self.broken(format_args!("STATUS {name} without an answer"));
        };
        let right = |folder: &Folder| {
            let unseen = folder.rows.values().filter(|row| row.flags.split(' ').all(|flag| flag != "\\Seen"));
            let is = |item: &str, number: u64| status_item(line, item) == Some(number);
            is("MESSAGES", folder.rows.len() as u64)
                && is("UIDNEXT", folder.uid_next)
                && is("UIDVALIDITY", folder.uid_validity.into())
                && is("HIGHESTMODSEQ", folder.highest)
                && is("UNSEEN", unseen.count() as u64)
        };
        let states = self.states_of(name, done.window);
        if !any(&states, right) {
            self.broken(format_args!("{line}: none of {states:?}"));
        }
        Ok(())
    }

    pub(super) async fn list(&mut self) -> Result<(), Lost> {
        let done = self.command("LIST \"\" *").await?;
        if !done.answer.ok() {
            return Ok(());
        }
        let told: BTreeSet<String> = done
            .answer
            .untagged
            .iter()
            // A name without a folder is left where one with others below it was deleted.
            .filter(|line| line.starts_with("LIST ") && !line.contains("\\Noselect"))
            .filter_map(|line| line.rsplit(' ').next())
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        let names = self.world.history.names(self.account, done.window);
        if !names.iter().any(|names| names.keys().eq(&told)) {
            self.broken(format_args!("LIST gave {told:?}, which was none of {names:?}"));
        }
        Ok(())
    }

    pub(super) async fn read_body(&mut self) -> Result<(), Lost> {
        let known: Vec<u32> = self.view.iter().flat_map(|view| view.rows.keys().copied()).collect();
        if known.is_empty() {
            return Ok(());
        }
        let uid = self.picks(&known);
        let done = self.command(&format!("UID FETCH {uid} (BODY.PEEK[])")).await?;
        let fetched = done.answer.untagged.iter().find(|line| line.contains("BODY[] {"));
        let Some(fetched) = fetched.filter(|_| done.answer.ok()) else { return Ok(()) };
        let states = self.states((crate::history::Moment(0), done.window.1));
        let Some(row) = states.iter().flatten().find_map(|folder| folder.rows.get(&uid)) else {
            self.broken(format_args!("UID {uid} has octets and never was"));
        };
        let octets = message(&row.token);
        if !fetched.contains(&format!("BODY[] {{{}}}\r\n{octets}", octets.len())) {
            self.broken(format_args!("the octets of {} are {fetched:?}", row.token));
        }
        Ok(())
    }

    /// Asks for another account's folders, by their true ids: the answer is that there are none.
    pub(super) async fn trespass(&mut self) -> Result<(), Lost> {
        let Some((victim, _)) = self.world.accounts.iter().find(|(account, _)| *account != self.account)
        else {
            return Ok(());
        };
        let names = self.world.history.names(*victim, (self.now(), self.now()));
        let Some(mailbox) = names.last().and_then(|names| names.get(FOLDERS[0]).copied()) else {
            return Ok(());
        };
        let link = Link::new(self.chance.random_range(0..FRONT_ENDS), self.world.net.clone());
        let which = self.chance.random_range(0..8);
        let theirs = ask(&link, which, self.account, *victim, mailbox).await;
        let unreachable = |kind: Option<ErrorKind>| {
            matches!(kind, Some(ErrorKind::Unavailable | ErrorKind::CommitUnknown | ErrorKind::Contended))
        };
        if unreachable(theirs) {
            return Ok(());
        }
        if theirs != Some(ErrorKind::NoSuchMailbox) {
            self.broken(format_args!("call {which} on another's account was answered {theirs:?}"));
        }
        // One of its own folders that is not there must be answered the same.
        if which < BY_FOLDER {
            let nothing = ask(&link, which, self.account, self.account, MailboxId(u64::MAX)).await;
            if !unreachable(nothing) && nothing != theirs {
                self.broken(format_args!(
                    "call {which}: {theirs:?} for another's folder, {nothing:?} for none"
                ));
            }
        }
        Ok(())
    }
}

/// Calls below this name a folder by its id.
const BY_FOLDER: u32 = 4;

/// A call as `owner` on an account and a folder; how it failed, if it did.
async fn ask(
    link: &Link,
    which: u32,
    owner: AccountId,
    account: AccountId,
    mailbox: MailboxId,
) -> Option<ErrorKind> {
    let ctx = Ctx { request_id: 0, deadline: None, requestor: Requestor::owner(owner) };
    let all = UidSet::range(Uid::MIN, Uid::MAX);
    let name = |name: &str| MailboxName::parse(name).ok();
    let failed = match which {
        0 => link.folder(&ctx, account, mailbox).await.err(),
        1 => link.vanished(&ctx, account, mailbox, model::ModSeq(1)).await.err(),
        2 => link.expunge(&ctx, account, mailbox, None).await.err(),
        3 => {
            let change = FlagChange { action: FlagAction::Add, flags: Flags::SEEN, keywords: Vec::new() };
            let request = StoreFlags { mailbox, uids: all, change, unchanged_since: None };
            link.store_flags(&ctx, account, request).await.err()
        }
        4 => link.status(&ctx, account, &[mailbox]).await.err(),
        5 => link.folders(&ctx, account).await.err(),
        6 => {
            let body = AppendBody::Inline("Subject: intruder\r\n\r\n".into());
            let (flags, keywords, annotations) = (Flags(0), Vec::new(), Vec::new());
            let message = AppendMessage { flags, keywords, internal_date: None, annotations, body };
            let mailbox = name(FOLDERS[0])?;
            link.append(&ctx, account, AppendRequest { mailbox, messages: vec![message] }).await.err()
        }
        _ => link.delete_folder(&ctx, account, &name(FLEETING[0])?).await.err(),
    };
    failed.map(|error| error.kind())
}
