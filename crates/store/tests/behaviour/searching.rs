use bytes::Bytes;
use kv::count::CountingEngine;
use model::limits::SEARCH_FOLDERS_MAX;
use model::{ErrorKind, Flags, MailboxId, ModSeq};
use store_api::{
    AppendBody, AppendMessage, DateField, FlagAction, HeaderField, MailStore, SearchKey, SearchManyRequest,
    SearchRequest, thread_id,
};

use crate::harness::{Harness, keywords, kind, message, uids};
use SearchKey::*;

fn header(name: &str, text: &str) -> SearchKey {
    Header(HeaderField::Named(name.to_owned()), text.to_owned())
}

fn not(key: SearchKey) -> SearchKey {
    Not(Box::new(key))
}

fn or(a: SearchKey, b: SearchKey) -> SearchKey {
    Or(Box::new(a), Box::new(b))
}

impl Harness {
    async fn try_search(&self, key: SearchKey, within: Option<&str>) -> model::Result<String> {
        let request = SearchRequest { mailbox: self.id("INBOX").await, key, within: within.map(uids) };
        let found = self.store.search(&self.ctx(), self.account, &request).await?;
        Ok(found.to_string())
    }

    async fn check_search(&self, key: SearchKey, expected: &str) {
        let text = format!("{key:?}");
        assert_eq!(self.try_search(key, None).await.unwrap(), expected, "{text}");
    }
}

/// 1: a chat message of day 10; 2: a mail with a date of its own; 3: one with an attachment; 4: large.
async fn four() -> Harness {
    let h = Harness::new().await;
    let dated = |octets: &str, at: i64, zone| AppendMessage {
        internal_date: Some((at, zone)),
        annotations: Vec::new(),
        ..message(octets.replace('\n', "\r\n"))
    };
    let first = dated(
        "From: <tel:+15550001>\nConversation-ID: conv-A\nContribution-ID: contrib-1\nIMDN-Message-ID: Imdn42\n\
         Subject: =?utf-8?q?caf=C3=A9?=\n\nGood morning\n",
        10 * 86_400 + 100,
        0,
    );
    let second = dated(
        "Date: Thu, 01 Jan 1970 23:30:00 -0100\nSubject: plan\nConversation-ID: conv-B\nX-Odd: morning star\n\nEvening\n",
        11 * 86_400 + 100,
        -10,
    );
    let third = dated(
        "Subject: parts\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\
         Content-Transfer-Encoding: base64\n\nR3LDvMOfZQ==\n--b\nContent-Type: image/png\n\nmorning\n--b--\n",
        12 * 86_400,
        0,
    );
    h.try_append("INBOX", vec![first, second, third]).await.unwrap();
    let mut large = b"Subject: large\r\nConversation-ID: conv-A\r\n\r\n".to_vec();
    while large.len() < 700_000 {
        large.extend_from_slice(b"nothing to see here\r\n");
    }
    large.extend_from_slice(b"the NEEDLE at its end\r\n");
    let mut writer = h.store.stage_body(&h.ctx(), h.account, large.len() as u64).await.unwrap();
    writer.write(Bytes::from(large)).await.unwrap();
    let body = writer.finish().await.unwrap();
    let staged = AppendMessage {
        body: AppendBody::Staged(body),
        internal_date: Some((20 * 86_400, 0)),
        annotations: Vec::new(),
        ..message("")
    };
    h.try_append("INBOX", vec![staged]).await.unwrap();
    h.add_flags("INBOX", "1,3", Flags::SEEN).await;
    h.try_flag("INBOX", "2", FlagAction::Add, Flags::FLAGGED, &["work"], None).await.unwrap();
    h
}

#[tokio::test]
async fn keys_one_by_one() {
    let h = four().await;
    for (key, expected) in [
        (All, "1:4"),
        (And(Vec::new()), "1:4"),
        (SearchKey::Flags(Flags::SEEN), "1,3"),
        (not(SearchKey::Flags(Flags::SEEN)), "2,4"),
        (Keyword(keywords(&["WORK"]).remove(0)), "2"),
        (Keyword(keywords(&["nobody"]).remove(0)), ""),
        (not(Keyword(keywords(&["nobody"]).remove(0))), "1:4"),
        (Uids(uids("2:9")), "2:4"),
        (Larger(700_000), "4"),
        (Smaller(150), "1:2"),
        // The second came 100 seconds past midnight of day 11 in UTC, which is day 10 in its own zone.
        (On(DateField::Internal, 10), "1:2"),
        (Since(DateField::Internal, 11), "3:4"),
        (Before(DateField::Internal, 11), "1:2"),
        (On(DateField::Sent, 0), "2"),
        (Before(DateField::Sent, 5), "2"),
        (Since(DateField::Saved, 19_000), "1:4"),
        (ReceivedBy(11 * 86_400 + 100), "1:2"),
        (ReceivedFrom(11 * 86_400 + 100), "2:4"),
        (header("Subject", "CAFÉ"), "1"),
        (header("subject", ""), "1:4"),
        (header("x-odd", "morning"), "2"),
        (header("x-none", ""), ""),
        (header("Conversation-ID", "CONV-"), "1:2,4"),
        (header("conversation-id", "conv-A"), "1,4"),
        (header("IMDN-Message-ID", "dn4"), "1"),
        (header("Contribution-ID", ""), "1"),
        (Body("morning".to_owned()), "1"),
        (Text("morning".to_owned()), "1:2"),
        // ß is SS under full case folding only, which i;unicode-casemap is not.
        (Body("GRÜSSE".to_owned()), ""),
        (Body("grüße".to_owned()), "3"),
        (Body("needle AT".to_owned()), "4"),
        (Text("large".to_owned()), "4"),
        (Body("absent".to_owned()), ""),
        (SearchKey::ModSeq(ModSeq(4)), "1:3"),
    ] {
        h.check_search(key, expected).await;
    }
    let folder = h.folder("INBOX").await;
    let body = folder.rows().nth(2).unwrap().body;
    h.check_search(EmailId(body), "3").await;
    let info = h
        .store
        .infos(&h.ctx(), h.account, folder.mailbox, &[folder.rows().next().unwrap().body])
        .await
        .unwrap();
    h.check_search(ThreadId(thread_id(info[0].as_ref().unwrap()).unwrap()), "1,4").await;
}

#[tokio::test]
async fn keys_together() {
    let h = four().await;
    h.check_search(And(vec![Body("morning".to_owned()), not(SearchKey::Flags(Flags::SEEN))]), "").await;
    h.check_search(or(Body("needle".to_owned()), SearchKey::Flags(Flags::FLAGGED)), "2,4").await;
    h.check_search(not(or(header("Subject", "a"), Body("zzz".to_owned()))), "").await;
    h.check_search(And(vec![header("Subject", "a"), not(Text("grüße".to_owned()))]), "1:2,4").await;
    assert_eq!(h.try_search(Body("morning".to_owned()), Some("2:4")).await.unwrap(), "");
    assert_eq!(h.try_search(All, Some("3:9")).await.unwrap(), "3:4");
}

#[tokio::test]
async fn a_large_folder_answers_from_its_index() {
    let h = Harness::new().await;
    let messages = (0..500)
        .map(|n| message(format!("Conversation-ID: c{}\r\nIMDN-Message-ID: m{n}\r\n\r\nx", n % 7)))
        .collect();
    h.try_append("INBOX", messages).await.unwrap();
    h.check_search(header("IMDN-Message-ID", "M499"), "500").await;
    h.check_search(header("IMDN-Message-ID", "m49"), "50,491:500").await;
    assert_eq!(h.try_search(header("Conversation-ID", "c3"), Some("1:20")).await.unwrap(), "4,11,18");
    // What is in the index of the account is not in every folder, and what was moved still is.
    h.try_copy(store_api::CopyMode::Move, "INBOX", "50", "Default").await.unwrap();
    h.check_search(header("IMDN-Message-ID", "m49"), "491:500").await;
    h.add_flags("INBOX", "491:499", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    h.check_search(header("IMDN-Message-ID", "m49"), "500").await;
    h.check().await;
    h.check_search(header("IMDN-Message-ID", "m49"), "500").await;
}

/// The account's index, the facts of what is new, packing anew: each answers as a look at every message would.
#[tokio::test]
async fn packed_headers_follow_their_folder() {
    let h = Harness::new().await;
    let some = |from: usize, to: usize| {
        (from..to)
            .map(|n| {
                message(format!("Conversation-ID: C\u{e9}{}\r\nIMDN-Message-ID: Id-{n}\r\n\r\nx", n % 3))
            })
            .collect::<Vec<_>>()
    };
    // More than are asked one by one, and others in the account.
    h.try_append("Default", some(0, 40)).await.unwrap();
    h.try_append("INBOX", some(1, 1301)).await.unwrap();
    h.check_search(header("IMDN-Message-ID", "id-1300"), "1300").await;
    h.check_search(header("IMDN-Message-ID", ""), "1:1300").await;
    h.check_search(header("IMDN-Message-ID", "d-99"), "99,990:999").await;
    h.check_search(header("IMDN-Message-ID", "99id"), "").await;
    assert_eq!(h.try_search(header("Conversation-ID", "c\u{c9}1"), Some("1:9")).await.unwrap(), "1,4,7");

    h.try_append("INBOX", vec![message("\r\nno headers")]).await.unwrap();
    h.try_append("INBOX", some(1302, 1304)).await.unwrap();
    h.check_search(header("IMDN-Message-ID", "id-130"), "130,1300,1302:1303").await;
    h.check_search(not(header("IMDN-Message-ID", "id-")), "1301").await;

    h.try_append("INBOX", some(1304, 2400)).await.unwrap();
    h.check_search(header("IMDN-Message-ID", "id-2399"), "2399").await;
    h.check_search(header("IMDN-Message-ID", "id-130"), "130,1300,1302:1309").await;
    h.try_append("INBOX", some(2400, 2401)).await.unwrap();
    h.check_search(header("IMDN-Message-ID", "id-24"), "24,240:249,2400").await;

    // A copy is a message of its own, with the headers of the first.
    h.try_copy(store_api::CopyMode::Copy, "INBOX", "7", "INBOX").await.unwrap();
    h.check_search(header("IMDN-Message-ID", "id-7"), "7,70:79,700:799,2401").await;
    h.add_flags("INBOX", "7", Flags::DELETED).await;
    h.expunge("INBOX", None).await;
    h.check_search(And(vec![header("IMDN-Message-ID", "id-7"), Smaller(999)]), "70:79,700:799,2401").await;
    let both = And(vec![header("IMDN-Message-ID", "id-7"), header("Conversation-ID", "c\u{e9}0")]);
    assert_eq!(h.try_search(both, Some("1:76")).await.unwrap(), "72,75");
}

#[tokio::test]
async fn bounds() {
    let h = four().await;
    let mut deep = All;
    for _ in 0..40 {
        deep = not(deep);
    }
    assert_eq!(kind(h.try_search(deep, None).await), ErrorKind::Limit);
    assert_eq!(kind(h.try_search(And(vec![All; 300]), None).await), ErrorKind::Limit);
    assert_eq!(kind(h.try_search(Body("x".repeat(1025)), None).await), ErrorKind::Limit);
    let request =
        SearchRequest { mailbox: h.id("INBOX").await, key: Body("absent".to_owned()), within: None };
    let mut ctx = h.ctx();
    ctx.deadline = Some(std::time::Instant::now());
    assert_eq!(kind(h.store.search(&ctx, h.account, &request).await), ErrorKind::Deadline);
}

/// A search of several folders says of each what a search of that folder says: by rows, packed headers, facts, octets.
#[tokio::test]
async fn several_folders_at_once() {
    let h = four().await;
    let some = |from: usize, to: usize| {
        let text = |n| format!("Subject: number {n}\r\nIMDN-Message-ID: Id-{n}\r\n\r\nmorning {n}");
        (from..to).map(|n| message(text(n))).collect::<Vec<_>>()
    };
    for (folder, from, to) in [("small", 0, 3), ("large", 3, 180), ("empty", 0, 0), ("Default", 180, 190)] {
        if folder != "Default" {
            h.create(folder).await;
        }
        if from < to {
            h.try_append(folder, some(from, to)).await.unwrap();
        }
    }
    h.add_flags("large", "3:9", Flags::FLAGGED).await;
    let mut mailboxes = Vec::new();
    for folder in ["INBOX", "small", "large", "empty", "Default", "small"] {
        mailboxes.push(h.id(folder).await);
    }
    mailboxes.insert(2, MailboxId(u64::MAX));
    for key in [
        All,
        SearchKey::Flags(Flags::FLAGGED),
        not(SearchKey::Flags(Flags::FLAGGED)),
        Keyword(keywords(&["work"]).remove(0)),
        Uids(uids("2")),
        header("IMDN-Message-ID", "id-1"),
        not(header("IMDN-Message-ID", "1")),
        header("Subject", "number 17"),
        Since(DateField::Sent, 0),
        Body("morning".to_owned()),
        or(Text("morning 7".to_owned()), header("IMDN-Message-ID", "Imdn42")),
    ] {
        let request =
            SearchManyRequest { mailboxes: mailboxes.clone(), key: key.clone(), messages_max: 1_000 };
        let found = h.store.search_many(&h.ctx(), h.account, &request).await.unwrap();
        assert_eq!(found.len(), mailboxes.len(), "{key:?}");
        for (mailbox, found) in mailboxes.iter().zip(found) {
            let one = SearchRequest { mailbox: *mailbox, key: key.clone(), within: None };
            let expected = h.store.search(&h.ctx(), h.account, &one).await.ok();
            assert_eq!(found, expected, "{mailbox:?} {key:?}");
        }
    }
}

/// As many folders as their messages allow, and one at least; never more folders than a request may name.
#[tokio::test]
async fn a_search_of_several_folders_is_bounded() {
    let h = Harness::new().await;
    for (folder, messages) in [("INBOX", 5), ("Default", 2)] {
        h.try_append(folder, vec![message("Subject: x\r\n\r\n"); messages]).await.unwrap();
    }
    let (inbox, default) = (h.id("INBOX").await, h.id("Default").await);
    let ask = async |mailboxes: Vec<MailboxId>, messages_max| {
        let request = SearchManyRequest { mailboxes, key: All, messages_max };
        let found = h.store.search_many(&h.ctx(), h.account, &request).await?;
        let text = |uids: Option<model::UidSet>| uids.map_or("gone".to_owned(), |uids| uids.to_string());
        model::Result::Ok(found.into_iter().map(text).collect::<Vec<_>>())
    };
    assert_eq!(ask(vec![inbox, default], 7).await.unwrap(), ["1:5", "1:2"]);
    assert_eq!(ask(vec![inbox, default], 6).await.unwrap(), ["1:5"]);
    assert_eq!(ask(vec![inbox, default], 0).await.unwrap(), ["1:5"]);
    assert_eq!(ask(vec![MailboxId(u64::MAX), default, inbox], 2).await.unwrap(), ["gone", "1:2"]);
    assert!(ask(Vec::new(), 9).await.unwrap().is_empty());
    let many = vec![MailboxId(u64::MAX); SEARCH_FOLDERS_MAX + 1];
    assert_eq!(kind(ask(many, 9).await), ErrorKind::InvalidRequest);
}

/// Folders that the node knows as they are take one look at the engine together, whatever decides.
#[tokio::test]
async fn what_a_search_of_a_hundred_folders_asks_of_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let counting = CountingEngine::new(kv::memory::MemoryEngine::new());
    let h = Harness::over(counting.clone(), directory, store::Options::default()).await;
    let mut mailboxes = Vec::new();
    for n in 0..100 {
        h.create(&format!("f{n}")).await;
        let text = format!("Subject: x\r\nIMDN-Message-ID: id-{n}\r\n\r\nx");
        h.try_append(&format!("f{n}"), vec![message(text)]).await.unwrap();
        mailboxes.push(h.id(&format!("f{n}")).await);
    }
    // Folders cached, facts not; then both.
    for (key, transactions) in
        [(All, 1), (header("IMDN-Message-ID", "id-7"), 2), (header("IMDN-Message-ID", "id-7"), 1)]
    {
        let request = SearchManyRequest { mailboxes: mailboxes.clone(), key, messages_max: 1_000 };
        h.store.search_many(&h.ctx(), h.account, &request).await.unwrap();
        counting.take();
        let found = h.store.search_many(&h.ctx(), h.account, &request).await.unwrap();
        assert_eq!(found.len(), 100);
        assert!(counting.take().transactions <= transactions, "{:?}", request.key);
    }
}
