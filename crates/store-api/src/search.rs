//! SEARCH programs, with sequence numbers already turned into UIDs.

use std::hash::Hasher;

use cpm_mime::MessageIndex;
use model::{AnnotationPattern, BodyId, EntryScope, Flags, Keyword, MailboxId, ModSeq, UidSet};
use siphasher::sip128::{Hasher128, SipHasher24};

/// Which date a date key looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateField {
    /// INTERNALDATE, in its own zone: BEFORE, ON, SINCE.
    Internal,
    /// The Date header, in its own zone: SENTBEFORE, SENTON, SENTSINCE.
    Sent,
    /// SAVEDATE, in UTC: SAVEDBEFORE, SAVEDON, SAVEDSINCE (RFC 8514).
    Saved,
}

/// Which header a header key looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// FROM, TO, CC, BCC, SUBJECT and HEADER: a field by its name, compared without case.
    Named(String),
}

/// A key of a SEARCH program. Texts are UTF-8 and match as substrings without case (i;unicode-casemap, RFC 5051).
/// Source: RFC 9051 §6.4.4 unless said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// Every message.
    All,
    /// Both; with none, every message.
    And(Vec<SearchKey>),
    /// Either.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// Not.
    Not(Box<SearchKey>),
    /// Messages of the set: UID keys, sequence sets and `$`.
    Uids(UidSet),
    /// All of these system flags are set.
    Flags(Flags),
    /// The keyword is set.
    Keyword(Keyword),
    /// At least this many octets more: LARGER.
    Larger(u64),
    /// Fewer octets: SMALLER.
    Smaller(u64),
    /// The day of the field is before this day (days since 1970-01-01).
    Before(DateField, i32),
    /// The day of the field is this day.
    On(DateField, i32),
    /// The day of the field is this day or later.
    Since(DateField, i32),
    /// INTERNALDATE is at or before this moment (seconds since 1970-01-01 UTC): OLDER (RFC 5032).
    ReceivedBy(i64),
    /// INTERNALDATE is at or after this moment: YOUNGER (RFC 5032).
    ReceivedFrom(i64),
    /// The header has the text; with an empty text, it exists.
    Header(HeaderField, String),
    /// The body has the text.
    Body(String),
    /// The header or the body has the text.
    Text(String),
    /// MODSEQ is this or larger (RFC 7162 §3.1.5).
    ModSeq(ModSeq),
    /// EMAILID (RFC 8474).
    EmailId(BodyId),
    /// THREADID (RFC 8474), as shown.
    ThreadId(String),
    /// An annotation that the requestor may see, of an entry that the pattern stands for and of this scope, of either
    /// for none, has the text (RFC 5257 §4.8); with an empty text, it exists.
    Annotation(AnnotationPattern, Option<EntryScope>, String),
}

/// A SEARCH of one folder.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// The folder.
    pub mailbox: MailboxId,
    /// The program; at most [`model::limits::SEARCH_KEYS_MAX`] keys, [`model::limits::SEARCH_DEPTH_MAX`] deep.
    pub key: SearchKey,
    /// Only messages of this set; none for all.
    pub within: Option<UidSet>,
}

/// A SEARCH of several folders of an account.
#[derive(Clone, Debug)]
pub struct SearchManyRequest {
    /// The folders; at most [`model::limits::SEARCH_FOLDERS_MAX`].
    pub mailboxes: Vec<MailboxId>,
    /// The program, as in [`SearchRequest`].
    pub key: SearchKey,
    /// A folder that would make it more messages to look through is not begun, unless it is the first;
    /// [`model::limits::SEARCH_MANY_MESSAGES_MAX`] holds as well.
    pub messages_max: u64,
}

/// THREADID (RFC 8474 §5.2) as it is shown and searched: messages of one CPM conversation share it. None for a message
/// without a Conversation-ID.
pub fn thread_id(index: &MessageIndex) -> Option<String> {
    let conversation = index.conversation_id()?;
    let mut hasher = SipHasher24::new();
    hasher.write(conversation);
    let hash = hasher.finish128();
    Some(format!("T{:016x}{:016x}", hash.h1, hash.h2))
}
