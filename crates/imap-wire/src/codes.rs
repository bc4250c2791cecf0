//! Response codes: one table of those without data, and the ones with.

use bytes::BufMut;
use model::{UidList, UidSet};

use crate::encode;

macro_rules! codes {
    ($($variant:ident $name:literal $source:literal,)*) => {
        /// What a status response says to programs: the part in brackets.
        ///
        /// Sets are UIDs, or sequence numbers where a command that was given sequence numbers answers.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Code<'a> {
            $(#[doc = concat!("`", $name, "` (", $source, ")")] $variant,)*
            /// `APPENDUID` (RFC 4315 §3): UIDVALIDITY of the destination and the UIDs, in the order of the messages.
            AppendUid(u32, &'a UidList),
            /// `ANNOTATE TOOBIG` (RFC 5257 §4.5)
            AnnotateTooBig,
            /// `ANNOTATE TOOMANY` (RFC 5257 §4.5)
            AnnotateTooMany,
            /// `ANNOTATIONS` (RFC 5257 §4.1): octets that a value may have; none where nothing can be changed.
            Annotations(Option<u64>),
            /// `BADCHARSET` (RFC 9051 §7.1): the charsets that are known; may be empty.
            BadCharset(&'a [&'a str]),
            /// `BADURL` (RFC 4469 §4.2): the URL.
            BadUrl(&'a [u8]),
            /// `BADEVENT` (RFC 5465 §3.1): the events that are known.
            BadEvent(&'a [&'a str]),
            /// `CAPABILITY` (RFC 9051 §7.1): capability names.
            Capability(&'a [&'a str]),
            /// `COPYUID` (RFC 4315 §3): UIDVALIDITY of the destination, old UIDs, new UIDs, as many in the same
            /// order. When nothing was copied the code must not be sent.
            CopyUid(u32, &'a UidSet, &'a UidList),
            /// `HIGHESTMODSEQ` (RFC 7162 §3.1.2.1)
            HighestModSeq(u64),
            /// `INPROGRESS` (RFC 9585 §3): tag of the running command, what is done, and of how much if that is
            /// known; nothing at all gives the code without data.
            InProgress(Option<(&'a [u8], Option<(u32, Option<u32>)>)>),
            /// `MAILBOXID` (RFC 8474 §4.1)
            MailboxId(&'a str),
            /// `MAXCONVERTMESSAGES` (RFC 5259 §9): messages that one command converts.
            MaxConvertMessages(u32),
            /// `MAXCONVERTPARTS` (RFC 5259 §9): parts of a message that one command converts.
            MaxConvertParts(u32),
            /// `METADATA LONGENTRIES` (RFC 5464 §4.2.1): octets of the largest value that was left out.
            MetadataLongEntries(u64),
            /// `METADATA MAXSIZE` (RFC 5464 §4.3): octets that a value may have.
            MetadataMaxSize(u64),
            /// `METADATA TOOMANY` (RFC 5464 §4.3)
            MetadataTooMany,
            /// `MODIFIED` (RFC 7162 §3.1.3): messages a conditional STORE did not change.
            Modified(&'a UidSet),
            /// `NOUPDATE` (RFC 5267 §4.3.1): the tag of a search that is not kept up to date.
            NoUpdate(&'a [u8]),
            /// `PERMANENTFLAGS` (RFC 9051 §7.1): flag names, `\*` included where new keywords may be made.
            PermanentFlags(&'a [&'a str]),
            /// `REFERRAL` (RFC 2221 §4.1): an IMAP URL.
            Referral(&'a str),
            /// `UIDNEXT` (RFC 9051 §7.1)
            UidNext(u32),
            /// `UIDVALIDITY` (RFC 9051 §7.1)
            UidValidity(u32),
            /// `UNSEEN` (RFC 3501 §7.1): sequence number of the first unseen message.
            Unseen(u32),
            /// `URLMECH` (RFC 4467 §8): the mechanisms that sign URLs, `INTERNAL` first.
            UrlMech(&'a [&'a str]),
            /// Any other, already in its form: `NAME` or `NAME data`.
            Other(&'a str),
        }

        /// The codes that have no data: names and sources.
        pub const PLAIN: &[(&str, &str)] = &[$(($name, $source),)*];

        impl Code<'_> {
            /// Appends the code without brackets.
            pub fn encode<B: BufMut>(&self, out: &mut B) {
                match *self {
                    $(Code::$variant => out.put_slice($name.as_bytes()),)*
                    ref code => code.encode_data(out),
                }
            }
        }
    };
}

codes! {
    Alert "ALERT" "RFC 9051 §7.1",
    AlreadyExists "ALREADYEXISTS" "RFC 5530 §3",
    AuthenticationFailed "AUTHENTICATIONFAILED" "RFC 5530 §3",
    AuthorizationFailed "AUTHORIZATIONFAILED" "RFC 5530 §3",
    Cannot "CANNOT" "RFC 5530 §3",
    ClientBug "CLIENTBUG" "RFC 5530 §3",
    Closed "CLOSED" "RFC 7162 §3.2.11",
    CompressionActive "COMPRESSIONACTIVE" "RFC 4978 §3",
    ContactAdmin "CONTACTADMIN" "RFC 5530 §3",
    Corruption "CORRUPTION" "RFC 5530 §3",
    Expired "EXPIRED" "RFC 5530 §3",
    ExpungeIssued "EXPUNGEISSUED" "RFC 5530 §3",
    HasChildren "HASCHILDREN" "RFC 9051 §7.1",
    InUse "INUSE" "RFC 5530 §3",
    Limit "LIMIT" "RFC 5530 §3",
    NonExistent "NONEXISTENT" "RFC 5530 §3",
    NotificationOverflow "NOTIFICATIONOVERFLOW" "RFC 5465 §5.8",
    NoModSeq "NOMODSEQ" "RFC 7162 §3.1.2.2",
    NoPerm "NOPERM" "RFC 5530 §3",
    NotSaved "NOTSAVED" "RFC 5182 §2.1",
    OverQuota "OVERQUOTA" "RFC 5530 §3; RFC 9208 §4.3",
    Parse "PARSE" "RFC 9051 §7.1",
    PrivacyRequired "PRIVACYREQUIRED" "RFC 5530 §3",
    ReadOnly "READ-ONLY" "RFC 9051 §7.1",
    ReadWrite "READ-WRITE" "RFC 9051 §7.1",
    ServerBug "SERVERBUG" "RFC 5530 §3",
    TempFail "TEMPFAIL" "RFC 5259 §9",
    TooBig "TOOBIG" "RFC 4469 §4.3; RFC 7889 §4",
    TryCreate "TRYCREATE" "RFC 9051 §7.1",
    UidNotSticky "UIDNOTSTICKY" "RFC 4315 §3",
    Unavailable "UNAVAILABLE" "RFC 5530 §3",
    UnknownCte "UNKNOWN-CTE" "RFC 3516 §4.3",
    UseAttr "USEATTR" "RFC 6154 §6",
}

impl Code<'_> {
    /// The codes with data.
    fn encode_data<B: BufMut>(&self, out: &mut B) {
        let named = |out: &mut B, name: &str, value: u64| {
            out.put_slice(name.as_bytes());
            encode::number(out, value);
        };
        match *self {
            Code::AppendUid(validity, uids) => {
                named(out, "APPENDUID ", validity.into());
                out.put_u8(b' ');
                encode::uid_list(out, uids);
            }
            Code::AnnotateTooBig => out.put_slice(b"ANNOTATE TOOBIG"),
            Code::AnnotateTooMany => out.put_slice(b"ANNOTATE TOOMANY"),
            Code::Annotations(Some(octets)) => named(out, "ANNOTATIONS ", octets),
            Code::Annotations(None) => out.put_slice(b"ANNOTATIONS READ-ONLY"),
            Code::BadCharset(charsets) => {
                out.put_slice(b"BADCHARSET");
                if !charsets.is_empty() {
                    out.put_u8(b' ');
                    encode::name_list(out, charsets);
                }
            }
            Code::BadEvent(events) => {
                out.put_slice(b"BADEVENT ");
                encode::name_list(out, events);
            }
            Code::BadUrl(url) => {
                // RFC 4469 §4.2 wants text without brackets and line ends, and nobody wants to read a long one again.
                const SHOWN_BYTES_MAX: usize = 255;
                let shown = url.iter().take(SHOWN_BYTES_MAX);
                let shown = shown
                    .map(|octet| if matches!(octet, b' '..=b'\\' | b'^'..=b'~') { *octet } else { b'?' });
                out.put_slice(b"BADURL ");
                encode::quoted(out, &shown.collect::<Vec<_>>());
            }
            Code::Capability(names) => {
                out.put_slice(b"CAPABILITY");
                for name in names {
                    out.put_u8(b' ');
                    out.put_slice(name.as_bytes());
                }
            }
            Code::CopyUid(validity, from, to) => {
                named(out, "COPYUID ", validity.into());
                out.put_u8(b' ');
                encode::uid_set(out, from);
                out.put_u8(b' ');
                encode::uid_list(out, to);
            }
            Code::HighestModSeq(value) => named(out, "HIGHESTMODSEQ ", value),
            Code::InProgress(progress) => in_progress(out, progress),
            Code::MailboxId(id) => {
                out.put_slice(b"MAILBOXID (");
                out.put_slice(id.as_bytes());
                out.put_u8(b')');
            }
            Code::MaxConvertMessages(n) => named(out, "MAXCONVERTMESSAGES ", n.into()),
            Code::MaxConvertParts(n) => named(out, "MAXCONVERTPARTS ", n.into()),
            Code::MetadataLongEntries(octets) => named(out, "METADATA LONGENTRIES ", octets),
            Code::MetadataTooMany => out.put_slice(b"METADATA TOOMANY"),
            Code::MetadataMaxSize(octets) => named(out, "METADATA MAXSIZE ", octets),
            Code::Modified(set) => {
                out.put_slice(b"MODIFIED ");
                encode::uid_set(out, set);
            }
            Code::NoUpdate(tag) => {
                out.put_slice(b"NOUPDATE ");
                encode::quoted(out, tag);
            }
            Code::PermanentFlags(names) => {
                out.put_slice(b"PERMANENTFLAGS ");
                encode::name_list(out, names);
            }
            Code::Referral(url) => {
                out.put_slice(b"REFERRAL ");
                encode::text(out, url);
            }
            Code::UidNext(value) => named(out, "UIDNEXT ", value.into()),
            Code::UidValidity(value) => named(out, "UIDVALIDITY ", value.into()),
            Code::Unseen(value) => named(out, "UNSEEN ", value.into()),
            Code::UrlMech(names) => {
                out.put_slice(b"URLMECH");
                for name in names {
                    out.put_u8(b' ');
                    out.put_slice(name.as_bytes());
                }
            }
            Code::Other(text) => encode::text(out, text),
            // Written by `encode`, from the table.
            _ => {}
        }
    }
}

fn in_progress<B: BufMut>(out: &mut B, progress: Option<(&[u8], Option<(u32, Option<u32>)>)>) {
    out.put_slice(b"INPROGRESS");
    let Some((tag, progress)) = progress else { return };
    out.put_slice(b" (");
    encode::quoted(out, tag);
    let (done, goal) = progress.map_or((None, None), |(done, goal)| (Some(done), goal));
    for value in [done, goal] {
        out.put_u8(b' ');
        match value {
            Some(value) => encode::number(out, value),
            None => out.put_slice(b"NIL"),
        }
    }
    out.put_u8(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let check = |code: Code<'_>, expected: &str| {
            let mut out = Vec::new();
            code.encode(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        };
        let (one, many) = (UidSet::from_ranges([(7, 7)]), UidSet::from_ranges([(3, 5), (9, 9)]));
        check(Code::ReadWrite, "READ-WRITE");
        let mixed = UidList::from_runs([(9, 9), (3, 5), (9, 9)]).expect("runs");
        check(Code::AppendUid(38505, &UidList::from(&one)), "APPENDUID 38505 7");
        check(Code::AppendUid(38505, &mixed), "APPENDUID 38505 9,3:5,9");
        check(Code::CopyUid(38505, &many, &UidList::from(&many)), "COPYUID 38505 3:5,9 3:5,9");
        check(Code::Annotations(Some(6144)), "ANNOTATIONS 6144");
        check(Code::Annotations(None), "ANNOTATIONS READ-ONLY");
        check(Code::AnnotateTooBig, "ANNOTATE TOOBIG");
        check(Code::BadCharset(&[]), "BADCHARSET");
        check(Code::BadCharset(&["US-ASCII", "UTF-8"]), "BADCHARSET (US-ASCII UTF-8)");
        check(Code::BadEvent(&["MessageNew", "FlagChange"]), "BADEVENT (MessageNew FlagChange)");
        check(Code::BadUrl(b"/INBOX"), "BADURL \"/INBOX\"");
        check(Code::BadUrl(b"/a]b\r\n\xff"), "BADURL \"/a?b???\"");
        check(Code::BadUrl(&[b'x'; 300]), &format!("BADURL \"{}\"", "x".repeat(255)));
        check(Code::Capability(&["IMAP4rev1", "IDLE"]), "CAPABILITY IMAP4rev1 IDLE");
        check(Code::HighestModSeq(715_194_045_007), "HIGHESTMODSEQ 715194045007");
        check(Code::InProgress(None), "INPROGRESS");
        check(Code::InProgress(Some((b"A1", None))), "INPROGRESS (\"A1\" NIL NIL)");
        check(Code::InProgress(Some((b"A1", Some((175, None))))), "INPROGRESS (\"A1\" 175 NIL)");
        check(Code::InProgress(Some((b"A1", Some((45, Some(1000)))))), "INPROGRESS (\"A1\" 45 1000)");
        check(Code::MailboxId("F2212ea87"), "MAILBOXID (F2212ea87)");
        check(Code::MaxConvertMessages(1), "MAXCONVERTMESSAGES 1");
        check(Code::MaxConvertParts(1), "MAXCONVERTPARTS 1");
        check(Code::MetadataLongEntries(2199), "METADATA LONGENTRIES 2199");
        check(Code::MetadataMaxSize(1024), "METADATA MAXSIZE 1024");
        check(Code::MetadataTooMany, "METADATA TOOMANY");
        check(Code::Modified(&many), "MODIFIED 3:5,9");
        check(Code::PermanentFlags(&["\\Seen", "\\*"]), "PERMANENTFLAGS (\\Seen \\*)");
        check(Code::Unseen(12), "UNSEEN 12");
        check(Code::UrlMech(&["INTERNAL"]), "URLMECH INTERNAL");
        check(Code::Other("NOUPDATE \"B02\""), "NOUPDATE \"B02\"");
        check(Code::NoUpdate(b"B02"), "NOUPDATE \"B02\"");
        check(Code::Other("X-ANY \"B02\""), "X-ANY \"B02\"");
        for (name, source) in PLAIN {
            assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') && source.starts_with("RFC "));
        }
    }
}
