//! What a client changes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use rand::Rng;

use super::{Done, FLEETING, FOLDERS, Phone, WORDS};
use crate::history::{Moment, Window};
use crate::view::{any, number_after, set_of, uids};
use crate::wire::Lost;

/// The message of a token: small, and its own.
pub fn message(token: &str) -> String {
    let conversation = &token[token.len() - 2..];
    format!(
        "Subject: {token}\r\nConversation-ID: {conversation}\r\nFrom: <tel:+15550000>\r\n\r\nThis is {token}.\r\n"
    )
}

impl Phone {
    /// The folders a change may go to: mostly those that are always there.
    fn target(&mut self) -> &'static str {
        if self.chance.random_bool(0.8) { self.picks(&FOLDERS) } else { self.picks(&FLEETING) }
    }

    /// Some of the messages it knows.
    fn some(&mut self, most: usize) -> Vec<u32> {
        let known: Vec<u32> = self.view.iter().flat_map(|view| view.rows.keys().copied()).collect();
        if known.is_empty() {
            return Vec::new();
        }
        let count = self.chance.random_range(1..=most);
        let chosen: BTreeSet<u32> = (0..count).map(|_| self.picks(&known)).collect();
        chosen.into_iter().collect()
    }

    pub(super) async fn append(&mut self) -> Result<(), Lost> {
        let target = self.target();
        let count = if self.chance.random_bool(0.7) { 1 } else { self.chance.random_range(2..6) };
        let mut tokens: Vec<Arc<str>> = Vec::new();
        let mut command = format!("APPEND {target}");
        for _ in 0..count {
            self.appended += 1;
            let token = format!("m{}.{}c{}", self.number, self.appended, self.chance.random_range(0..3));
            let flags = self.flags();
            let octets = message(&token);
            let _ = write!(command, " ({flags}) {{{}+}}\r\n{octets}", octets.len());
            tokens.push(token.into());
        }
        // However it ends, all of them come or none.
        self.world.together(self.account, &tokens);
        let done = self.command(&command).await?;
        if !done.answer.ok() {
            self.refused(target, &done);
            if done.answer.code != "UNAVAILABLE" {
                self.world.never(self.account, &tokens);
            }
            return Ok(());
        }
        let Some([uid_validity, set]) = done.answer.code_arguments("APPENDUID").and_then(two) else {
            self.broken(format_args!("APPEND without APPENDUID: {:?}", done.answer));
        };
        let new = uids(set);
        let there = any(&self.states_of(target, done.window), |folder| {
            folder.uid_validity.to_string() == uid_validity
                && new.len() == tokens.len()
                && new
                    .iter()
                    .zip(&tokens)
                    .all(|(uid, token)| folder.rows.get(uid).is_some_and(|row| row.token == *token))
        });
        if !there && !self.met_a_change_of(target, done.window) {
            self.broken(format_args!(
                "APPEND of {tokens:?} to {target} was answered OK, and {set} is not it"
            ));
        }
        Ok(())
    }

    /// Whether a folder of that name came or went meanwhile: a change that meets it may be in the same commit.
    fn met_a_change_of(&self, name: &str, window: Window) -> bool {
        let states = self.states_of(name, window);
        let names = self.world.history.names(self.account, window);
        states.iter().any(Option::is_none) || names.iter().any(|names| !names.contains_key(name))
    }

    fn flags(&mut self) -> String {
        let all = ["\\Seen", "\\Flagged", "\\Answered", WORDS[0], WORDS[1]];
        let chosen: Vec<&str> = all.into_iter().filter(|_| self.chance.random_bool(0.3)).collect();
        chosen.join(" ")
    }

    pub(super) async fn store_flags(&mut self) -> Result<(), Lost> {
        let chosen = self.some(5);
        if chosen.is_empty() {
            return Ok(());
        }
        let flags = self.flags();
        let action = self.picks(&["+FLAGS", "-FLAGS", "FLAGS"]);
        let done = self.command(&format!("UID STORE {} {action} ({flags})", set_of(&chosen))).await?;
        if !done.answer.ok() {
            return Ok(());
        }
        let asked: BTreeSet<&str> = flags.split_whitespace().collect();
        // Changes that meet are made in one commit, and another's may be the later of them.
        let states = self.states(done.window);
        let before = states.first().cloned().flatten();
        let modseq_before =
            |uid| before.as_ref().and_then(|folder| folder.rows.get(uid)).map(|row| row.modseq);
        let held = any(&states, |folder| {
            chosen.iter().filter_map(|uid| Some((uid, folder.rows.get(uid)?))).all(|(uid, row)| {
                let has: BTreeSet<&str> = row.flags.split_whitespace().collect();
                let asked_for = match action {
                    "+FLAGS" => has.is_superset(&asked),
                    "-FLAGS" => has.is_disjoint(&asked),
                    _ => has == asked,
                };
                asked_for || modseq_before(uid) != Some(row.modseq)
            })
        });
        if !held {
            self.broken(format_args!(
                "STORE {action} ({flags}) of {chosen:?} was answered OK, and is not there"
            ));
        }
        Ok(())
    }

    pub(super) async fn copy(&mut self) -> Result<(), Lost> {
        let chosen = self.some(4);
        if chosen.is_empty() {
            return Ok(());
        }
        let verb = self.picks(&["COPY", "MOVE"]);
        let target = self.target();
        let source = self.view.as_ref().map(|view| view.mailbox);
        let from = self.now();
        let done = self.command(&format!("UID {verb} {} {target}", set_of(&chosen))).await?;
        // MOVE tells COPYUID before the removals.
        let told = done.answer.told("COPYUID").map(str::to_owned);
        if !done.answer.ok() {
            self.refused(target, &done);
            return Ok(());
        }
        let arguments = match &told {
            Some(told) => told.split(' ').collect(),
            None => done.answer.code_arguments("COPYUID").unwrap_or_default(),
        };
        // All of them may be gone.
        let [uid_validity, old, new] = arguments[..] else { return Ok(()) };
        let (Some(source), old, new) = (source, uids(old), uids(new)) else { return Ok(()) };
        let history = &self.world.history;
        let window = (from, done.window.1);
        let names = history.names(self.account, window);
        let targets: BTreeSet<_> = names.iter().filter_map(|names| names.get(target).copied()).collect();
        for (old, new) in old.iter().zip(&new) {
            let moved_right = targets.iter().any(|mailbox| {
                let states = history.folder(self.account, *mailbox, window);
                let token = states
                    .iter()
                    .flatten()
                    .filter(|folder| folder.uid_validity.to_string() == uid_validity)
                    .find_map(|folder| folder.rows.get(new).map(|row| row.token.clone()));
                let original = history
                    .folder(self.account, source, (Moment(0), window.1))
                    .iter()
                    .flatten()
                    .find_map(|folder| folder.rows.get(old).map(|row| row.token.clone()));
                let (born, _) = history.life(self.account, *mailbox, *new);
                let (_, died) = history.life(self.account, source, *old);
                token.is_some() && token == original && (verb == "COPY" || born == died)
            });
            if !moved_right && !self.met_a_change_of(target, window) {
                self.broken(format_args!(
                    "{verb} of {old} as {new} to {target} was answered OK, and is not so"
                ));
            }
        }
        Ok(())
    }

    pub(super) async fn expunge(&mut self) -> Result<(), Lost> {
        let chosen = self.some(4);
        if chosen.is_empty() {
            return Ok(());
        }
        let set = set_of(&chosen);
        if !self.command(&format!("UID STORE {set} +FLAGS (\\Deleted)")).await?.answer.ok() {
            return Ok(());
        }
        let command =
            if self.chance.random_bool(0.5) { format!("UID EXPUNGE {set}") } else { "EXPUNGE".into() };
        let done = self.command(&command).await?;
        if !done.answer.ok() {
            return Ok(());
        }
        let gone = any(&self.states(done.window), |folder| {
            let left = chosen.iter().filter_map(|uid| folder.rows.get(uid));
            !left.into_iter().any(|row| row.flags.split_whitespace().any(|flag| flag == "\\Deleted"))
        });
        if !gone {
            self.broken(format_args!("{command} was answered OK, and messages with \\Deleted are left"));
        }
        Ok(())
    }

    pub(super) async fn change_folders(&mut self) -> Result<(), Lost> {
        let (name, other) = (self.picks(&FLEETING), self.picks(&FLEETING));
        let (command, holds): (String, fn(&BTreeSet<String>, &str, &str) -> bool) =
            match self.chance.random_range(0..10) {
                0..6 => (format!("CREATE {name}"), |names, name, _| names.contains(name)),
                6..8 => (format!("RENAME {name} {other}"), |names, _, other| names.contains(other)),
                _ => (format!("DELETE {name}"), |names, name, _| is_gone(names, name)),
            };
        // Two that meet may be one commit, after which neither is to be seen.
        let alone = self.world.folder_change_begins(self.account);
        let done: Result<Done, Lost> = self.command(&command).await;
        let alone = self.world.folder_change_ends(self.account, alone);
        let done = done?;
        let names = self.world.history.names(self.account, done.window);
        let held =
            names.iter().map(|names| names.keys().cloned().collect()).any(|names| holds(&names, name, other));
        if done.answer.ok() && alone && !held {
            self.broken(format_args!("{command} was answered OK, and it is not so in any of {names:?}"));
        }
        Ok(())
    }
}

/// Whether a folder is not there any more, nor any below it where these go along.
fn is_gone(names: &BTreeSet<String>, name: &str) -> bool {
    let along = |left: &String| {
        name.starts_with("RCSMessageStore/")
            && left.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
    };
    !names.contains(name) && !names.iter().any(along)
}

fn two(arguments: Vec<&str>) -> Option<[&str; 2]> {
    arguments.try_into().ok()
}

/// The number of messages that a STATUS response tells, and so on.
pub(super) fn status_item(line: &str, item: &str) -> Option<u64> {
    number_after(line, &format!("{item} "))
}
