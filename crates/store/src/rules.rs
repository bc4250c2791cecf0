//! What an account's class of service allows (OMA CPM Message Storage, RCC.09): which objects come below `Default`, where
//! the network records, what a subscriber may do with folders, and what a deleted one takes along.
//!
//! Looked at within the transaction of the change, with the class as the ledger has it. Accounts of the common class
//! are bound by nothing here, and pay nothing. Network functions and the operator are never bound by the rules on
//! folders; by those on objects and on deletion everybody is.

use cpm_mime::{Fault, MessageIndex, ObjectKind};
use model::{Error, ErrorKind, HIERARCHY_SEPARATOR, MailboxName};
use store_api::{DeleteRule, FolderRule, ObjectRule};

use crate::failure::Failure;
use crate::work::Work;
use crate::work::origin::Origin;

/// Where the network records, with all below it.
const RECORDED: &str = "Default";
/// Where the subscriber keeps, with all below it.
const KEPT: &str = "RCSMessageStore";

fn is_within(name: &MailboxName, root: &str) -> bool {
    name.as_str()
        .strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(HIERARCHY_SEPARATOR))
}

fn cannot(text: impl Into<String>) -> Failure {
    Error::new(ErrorKind::Cannot, text.into()).into()
}

/// Whether who asks is bound by the rules on folders.
pub(crate) fn binds(work: &Work<'_>, by: &Origin) -> bool {
    by.bound && work.ledger.service.folders == FolderRule::Cpm
}

/// Whether a folder of this name may be made.
pub(crate) fn may_create(work: &Work<'_>, name: &MailboxName, by: &Origin) -> Result<(), Failure> {
    if binds(work, by) && !is_within(name, KEPT) && !is_within(name, RECORDED) {
        return Err(cannot("your own mailboxes go below RCSMessageStore"));
    }
    Ok(())
}

/// Whether a folder may be renamed so.
pub(crate) fn may_rename(work: &Work<'_>, to: &MailboxName, by: &Origin) -> Result<(), Failure> {
    if binds(work, by) && !is_within(to, KEPT) {
        return Err(cannot("mailboxes may be moved to below RCSMessageStore only"));
    }
    Ok(())
}

/// Whether what is below a folder goes along when it is deleted.
pub(crate) fn takes_all_below(work: &Work<'_>, name: &MailboxName) -> bool {
    work.ledger.service.delete == DeleteRule::Recursive
        && (is_within(name, KEPT) || is_within(name, RECORDED))
}

/// Whether messages may be copied, or moved, from the one folder to the other.
pub(crate) fn may_copy(
    work: &Work<'_>,
    (source, target): (&MailboxName, &MailboxName),
    moving: bool,
    by: &Origin,
) -> Result<(), Failure> {
    if !binds(work, by) {
        return Ok(());
    }
    if is_within(target, RECORDED) {
        return Err(cannot("only the network stores below Default; copy to below RCSMessageStore"));
    }
    if moving && is_within(source, RECORDED) {
        return Err(cannot(
            "an object of a conversation may be copied, not moved; its mailbox may be renamed",
        ));
    }
    Ok(())
}

/// Whether the facts of messages that come to `target` are asked for.
pub(crate) fn ask_facts(work: &Work<'_>, target: &MailboxName, by: &Origin) -> bool {
    is_within(target, RECORDED) && (work.ledger.service.objects == ObjectRule::Strict || binds(work, by))
}

/// Whether a message may come to `target`, by its facts; none are those of mail.
pub(crate) fn may_append(
    work: &Work<'_>,
    target: &MailboxName,
    index: Option<&MessageIndex>,
    by: &Origin,
) -> Result<(), Failure> {
    if !ask_facts(work, target, by) {
        return Ok(());
    }
    let kind = index.map_or(ObjectKind::Mail, MessageIndex::kind);
    if binds(work, by) && !kind.is_legacy() {
        return Err(cannot("only SMS and MMS are stored below Default by a subscriber"));
    }
    if work.ledger.service.objects == ObjectRule::Lenient {
        return Ok(());
    }
    if kind == ObjectKind::Mail {
        return Err(cannot("only CPM objects are stored below Default, and this is none"));
    }
    let faults = index.map(MessageIndex::faults).unwrap_or_default();
    if faults.is_empty() {
        return Ok(());
    }
    let what: Vec<String> = faults.iter().map(Fault::to_string).collect();
    Err(cannot(format!("this {kind} cannot be stored below Default: {}", what.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_a_folder() {
        for (name, expected) in [
            ("Default", true),
            ("Default/tel:+33612345678", true),
            ("Default/a/b", true),
            ("Defaults", false),
            ("RCSMessageStore/Default", false),
            ("default", false),
        ] {
            let name = MailboxName::parse(name).expect("valid");
            assert_eq!(is_within(&name, RECORDED), expected, "{name}");
        }
    }
}
