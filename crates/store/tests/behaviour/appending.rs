use std::time::Duration;

use bytes::Bytes;
use model::limits::{BODY_INLINE_BYTES_MAX, STAGED_SECONDS_MAX};
use model::{ErrorKind, Flags, ModSeq};
use store_api::{
    AccountState, AppendBody, AppendMessage, AppendRequest, MailStore, QuotaLimits, ReplaceRequest,
};

use crate::harness::{Harness, START, address, keywords, kind, message, name, operator, uids, whole};

#[tokio::test]
async fn what_was_appended_is_there() {
    let h = Harness::new().await;
    let octets = Bytes::from_static(b"Subject: a\r\nConversation-ID: c1\r\n\r\nhello");
    let appended = h
        .try_append(
            "INBOX",
            vec![
                AppendMessage {
                    flags: Flags::SEEN.union(Flags::READ_REPORT_SENT),
                    keywords: keywords(&["$Forwarded", "other"]),
                    internal_date: Some((1_600_000_000, -330)),
                    annotations: Vec::new(),
                    body: octets.clone().into(),
                },
                message("second"),
            ],
        )
        .await
        .unwrap();
    assert_eq!(appended.uids.to_string(), "1:2");
    let folder = h.folder("INBOX").await;
    assert_eq!((folder.state.highest_modseq, appended.modseq), (ModSeq(2), ModSeq(2)));
    assert_eq!((folder.state.messages, folder.state.unseen, folder.state.uid_next), (2, 1, 3));
    assert_eq!(folder.state.uid_validity, appended.uid_validity);
    let rows: Vec<_> = folder.rows().copied().collect();
    assert_eq!((rows[0].internal_date, rows[0].zone_minutes, rows[0].saved_at), (1_600_000_000, -330, START));
    assert_eq!((rows[1].internal_date, rows[1].zone_minutes), (START, 0));
    assert_eq!(rows[0].size as usize, octets.len());
    let words: Vec<_> =
        rows[0].flags.keyword_indexes().map(|i| folder.state.keywords.get(i).unwrap()).collect();
    assert_eq!(words, keywords(&["$forwarded", "OTHER"]).iter().collect::<Vec<_>>());
    assert_eq!(h.octets("INBOX", 1).await, octets);
    let info = h
        .store
        .infos(&h.ctx(), h.account, model::MailboxId(0), &[rows[0].body, model::BodyId(999)])
        .await
        .unwrap();
    assert_eq!(info[0].as_ref().unwrap().conversation_id(), Some(&b"c1"[..]));
    assert!(info[1].is_none());
    h.check().await;
}

#[tokio::test]
async fn a_refused_append_leaves_no_trace() {
    let h = Harness::new().await;
    h.fill("INBOX", 1).await;
    let limits = QuotaLimits { bytes: Some(1_000), messages: Some(4) };
    h.store.configure_account(&operator(), &address(0), AccountState::Active, limits).await.unwrap();
    let before = h.folder("INBOX").await.state.clone();
    assert_eq!(kind(h.try_append("nowhere", vec![message("x")]).await), ErrorKind::NoSuchMailbox);
    let big = h.try_append("INBOX", vec![message(vec![b'x'; 900]), message(vec![b'x'; 200])]).await;
    assert_eq!(kind(big), ErrorKind::OverQuota);
    let many = (0..4).map(|_| message("x")).collect();
    assert_eq!(kind(h.try_append("INBOX", many).await), ErrorKind::OverQuota);
    assert_eq!(kind(h.try_append("INBOX", Vec::new()).await), ErrorKind::InvalidRequest);
    let long = message(vec![b'x'; BODY_INLINE_BYTES_MAX + 1]);
    assert_eq!(kind(h.try_append("INBOX", vec![long]).await), ErrorKind::InvalidRequest);
    assert_eq!(h.folder("INBOX").await.state, before);
    // Exactly full is not over.
    let used = h.store.quota(&h.ctx(), h.account).await.unwrap().usage.bytes;
    h.try_append("INBOX", vec![message(vec![b'x'; 1_000 - used as usize])]).await.unwrap();
    assert_eq!(kind(h.try_append("INBOX", vec![message("x")]).await), ErrorKind::OverQuota);
    h.check().await;
}

#[tokio::test]
async fn appends_at_once_share_batches_and_lose_nothing() {
    let h = std::sync::Arc::new(Harness::new().await);
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let h = h.clone();
            tokio::spawn(async move {
                let mut given = Vec::new();
                for i in 0..20 {
                    let text = format!("Subject: {n}.{i}\r\n\r\n");
                    given.push((h.try_append("INBOX", vec![message(text.clone())]).await.unwrap(), text));
                }
                given
            })
        })
        .collect();
    let mut all = std::collections::BTreeMap::new();
    for task in tasks {
        let given = task.await.unwrap();
        assert!(given.windows(2).all(|w| w[0].0.uids.last() < w[1].0.uids.first()));
        assert!(given.windows(2).all(|w| w[0].0.modseq < w[1].0.modseq));
        for (appended, text) in given {
            assert!(all.insert(appended.uids.first().unwrap().get(), text).is_none());
        }
    }
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), (1..=1280).collect::<Vec<_>>());
    for (uid, text) in all.iter().step_by(37) {
        assert_eq!(h.octets("INBOX", *uid).await, text.as_bytes());
    }
    h.check().await;
}

#[tokio::test]
async fn a_dropped_caller_hurts_nobody() {
    let h = Harness::new().await;
    let mut others = Vec::new();
    for n in 0..200 {
        let append = h.try_append("INBOX", vec![message(format!("{n}"))]);
        if n % 3 == 0 {
            // Polled once, so that it is queued, then dropped.
            let _ = tokio::time::timeout(Duration::ZERO, append).await;
        } else {
            others.push(append.await.unwrap());
        }
    }
    let folder = h.folder("INBOX").await;
    for appended in &others {
        assert!(folder.row(appended.uids.first().unwrap()).is_some());
    }
    h.check().await;
}

fn pattern(len: usize) -> Bytes {
    let header = b"Subject: large\r\nIMDN-Message-ID: m1\r\n\r\n";
    header.iter().copied().chain((0..).map(|n: u32| (n % 251) as u8)).take(len).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn staged_bodies_become_messages() {
    let h = Harness::new().await;
    for len in [0usize, 1, 32 * 1024, 32 * 1024 + 1, 1 << 20, 5_000_001] {
        let octets = pattern(len);
        let mut writer = h.store.stage_body(&h.ctx(), h.account, len as u64).await.unwrap();
        for piece in octets.chunks(70_001) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let body = writer.finish().await.unwrap();
        let staged = AppendMessage { body: AppendBody::Staged(body), ..message("") };
        let appended = h.try_append("INBOX", vec![staged.clone()]).await.unwrap();
        let uid = appended.uids.first().unwrap().get();
        assert_eq!(h.octets("INBOX", uid).await, octets, "{len}");
        assert_eq!(kind(h.try_append("INBOX", vec![staged]).await), ErrorKind::InvalidRequest);
        for range in [0..10u64, 32_760..32_780, 65_530..200_000, 4_999_999..9_999_999, 7..7] {
            let part = h
                .store
                .body(&h.ctx(), h.account, model::MailboxId(0), body, Some(range.clone()))
                .await
                .unwrap();
            let cut = |at: u64| (at as usize).min(len);
            let expected = octets.slice(cut(range.start).min(cut(range.end))..cut(range.end));
            assert_eq!(whole(part).await, expected, "{len} {range:?}");
        }
    }
    h.check().await;
}

#[tokio::test]
async fn staging_is_held_to_its_word() {
    let h = Harness::new().await;
    let too_big = h.store.stage_body(&h.ctx(), h.account, model::limits::APPEND_BYTES_MAX + 1).await;
    assert_eq!(too_big.err().unwrap().kind(), ErrorKind::TooBig);
    let mut writer = h.store.stage_body(&h.ctx(), h.account, 10).await.unwrap();
    assert_eq!(kind(writer.write(Bytes::from_static(b"12345678901")).await), ErrorKind::TooBig);
    let mut writer = h.store.stage_body(&h.ctx(), h.account, 10).await.unwrap();
    writer.write(Bytes::from_static(b"123456789")).await.unwrap();
    assert_eq!(kind(writer.finish().await), ErrorKind::InvalidRequest);
    let limits = QuotaLimits { bytes: Some(1_000), messages: None };
    h.store.configure_account(&operator(), &address(0), AccountState::Active, limits).await.unwrap();
    let over = h.store.stage_body(&h.ctx(), h.account, 1_001).await;
    assert_eq!(over.err().unwrap().kind(), ErrorKind::OverQuota);
}

#[tokio::test]
async fn what_was_staged_and_not_used_is_swept() {
    let h = Harness::new().await;
    let mut finished = h.store.stage_body(&h.ctx(), h.account, 100_000).await.unwrap();
    finished.write(pattern(100_000)).await.unwrap();
    let body = finished.finish().await.unwrap();
    let mut abandoned = h.store.stage_body(&h.ctx(), h.account, 3_000_000).await.unwrap();
    abandoned.write(pattern(2_500_000)).await.unwrap();
    h.pass(STAGED_SECONDS_MAX as i64 - 1);
    assert_eq!(h.store.sweep_all().await.unwrap().bodies, 0);
    // Old by now, but perhaps only by a clock: both must stay as they are for a while. The abandoned writer may have
    // written its last page after the clock moved.
    let mut bodies = 0;
    for _ in 0..3 {
        h.pass(STAGED_SECONDS_MAX as i64);
        bodies += h.store.sweep_all().await.unwrap().bodies;
    }
    assert_eq!(bodies, 2);
    assert_eq!(
        kind(h.store.body(&h.ctx(), h.account, model::MailboxId(0), body, None).await.map(drop)),
        ErrorKind::Expunged
    );
    let staged = AppendMessage { body: AppendBody::Staged(body), ..message("") };
    assert_eq!(kind(h.try_append("INBOX", vec![staged]).await), ErrorKind::InvalidRequest);
    // A writer that comes back after the sweep is told, and leaves nothing behind.
    abandoned.write(pattern(500_000)).await.ok();
    assert!(abandoned.finish().await.is_err());
    h.check().await;
}

#[tokio::test]
async fn a_clock_that_jumps_sweeps_nothing_in_use() {
    let h = Harness::new().await;
    let mut writer = h.store.stage_body(&h.ctx(), h.account, 100_000).await.unwrap();
    h.jump(10 * 86_400);
    for _ in 0..3 {
        h.pass(60);
        assert_eq!(h.store.sweep_all().await.unwrap().bodies, 0);
    }
    writer.write(pattern(100_000)).await.unwrap();
    let body = writer.finish().await.unwrap();
    h.jump(10 * 86_400);
    assert_eq!(h.store.sweep_all().await.unwrap().bodies, 0);
    let staged = AppendMessage { body: AppendBody::Staged(body), ..message("") };
    h.try_append("INBOX", vec![staged]).await.unwrap();
    h.pass(86_400);
    h.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_writer_keeps_its_body() {
    let h = Harness::new().await;
    let octets = pattern(3_000_000);
    let mut writer = h.store.stage_body(&h.ctx(), h.account, octets.len() as u64).await.unwrap();
    for piece in octets.chunks(500_000) {
        // Long silences, each of several times what an abandoned body is left alone for. The engine writes in time that
        // cannot be paused: it is given some, in which the clock of the test stands still.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            h.pass(100);
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))).await.unwrap();
        }
        assert_eq!(h.store.sweep_all().await.unwrap().bodies, 0);
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let body = writer.finish().await.unwrap();
    let staged = AppendMessage { body: AppendBody::Staged(body), ..message("") };
    h.try_append("INBOX", vec![staged]).await.unwrap();
    assert_eq!(h.octets("INBOX", 1).await, octets);
    h.check().await;
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let h = Harness::new().await;
    for written in [0, 1_500_000, 2_999_999, 3_000_000] {
        let mut writer = h.store.stage_body(&h.ctx(), h.account, 3_000_000).await.unwrap();
        writer.write(pattern(written)).await.unwrap();
        drop(writer);
    }
    let staged =
        store::keyspace::Keyspace::new(&[]).pending_of_kind(h.account, store::keyspace::PendingKind::Staged);
    let chunks = store::keyspace::Keyspace::new(&[]).subspace(h.account, store::keyspace::Subspace::Chunk);
    for range in [staged, chunks] {
        let request = kv::RangeRequest::new(range.begin, range.end);
        let mut tries = 0;
        loop {
            let mut trx = h.engine.begin(kv::TransactionOptions::default());
            if trx.get_range(&request, kv::ReadMode::Snapshot).await.unwrap().pairs.is_empty() {
                break;
            }
            tries += 1;
            assert!(tries < 2_000, "it stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    h.check().await;
}

#[tokio::test]
async fn only_so_much_stands_written_ahead() {
    let h = Harness::new().await;
    let mut writers = Vec::new();
    let refused = loop {
        match h.store.stage_body(&h.ctx(), h.account, model::limits::APPEND_BYTES_MAX).await {
            Ok(writer) => writers.push(writer),
            Err(error) => break error,
        }
        assert!(writers.len() <= 64, "8 GiB in messages of 128 MiB");
    };
    assert_eq!((refused.kind(), writers.len()), (ErrorKind::Limit, 64));
    writers.clear();
    let mut tries = 0;
    while h.store.stage_body(&h.ctx(), h.account, model::limits::APPEND_BYTES_MAX).await.is_err() {
        tries += 1;
        assert!(tries < 2_000, "what was given up still counts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_staged_body_becomes_one_message() {
    let h = Harness::new().await;
    let mut writer = h.store.stage_body(&h.ctx(), h.account, 300_000).await.unwrap();
    writer.write(pattern(300_000)).await.unwrap();
    let body = writer.finish().await.unwrap();
    let staged = AppendMessage { body: AppendBody::Staged(body), ..message("") };
    let twice = h.try_append("INBOX", vec![staged.clone(), staged.clone()]).await;
    assert_eq!(kind(twice), ErrorKind::InvalidRequest);
    h.try_append("INBOX", vec![staged]).await.unwrap();
    h.check().await;
}

#[tokio::test]
async fn replace_takes_the_place_of_a_message() {
    let h = Harness::new().await;
    h.fill("INBOX", 3).await;
    let source = h.id("INBOX").await;
    let uid = model::Uid::new(2).unwrap();
    let request =
        |target: &str| ReplaceRequest { source, uid, target: name(target), message: message("new") };
    let here = h.store.replace(&h.ctx(), h.account, request("INBOX")).await.unwrap();
    assert_eq!(here.uids.to_string(), "4");
    let folder = h.folder("INBOX").await;
    assert_eq!(folder.uids(), uids("1,3:4"));
    assert_eq!(folder.state.expunge_modseq, here.modseq);
    let gone = h.store.replace(&h.ctx(), h.account, request("INBOX")).await;
    assert_eq!(kind(gone), ErrorKind::Expunged);
    let request = ReplaceRequest { uid: model::Uid::new(1).unwrap(), ..request("Default") };
    let there = h.store.replace(&h.ctx(), h.account, request).await.unwrap();
    assert_eq!((there.mailbox, there.uids.to_set()), (h.id("Default").await, uids("1")));
    assert_eq!(h.folder("INBOX").await.uids(), uids("3:4"));
    let vanished = h.store.vanished(&h.ctx(), h.account, source, ModSeq(2)).await.unwrap();
    assert_eq!(vanished, uids("1:2"));
    h.check().await;
}

#[tokio::test]
async fn an_expired_request_changes_nothing() {
    let h = Harness::new().await;
    let mut ctx = h.ctx();
    ctx.deadline = Some(std::time::Instant::now());
    let request = AppendRequest { mailbox: name("INBOX"), messages: vec![message("x")] };
    assert_eq!(kind(h.store.append(&ctx, h.account, request).await), ErrorKind::Deadline);
    h.try_append("INBOX", vec![message("y")]).await.unwrap();
    assert_eq!(h.folder("INBOX").await.state.messages, 1);
}
