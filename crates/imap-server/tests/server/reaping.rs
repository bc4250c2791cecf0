//! What has been \Deleted for long is expunged by nobody: sessions hear of it as of any EXPUNGE.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use store::{Environment, SystemEnvironment};

use crate::fixture::{Fixture, options};

/// A clock that tests move.
#[derive(Default)]
struct Clock(AtomicI64);

impl Environment for Clock {
    fn now(&self) -> i64 {
        1_700_000_000 + self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed).unsigned_abs())
    }

    fn random(&self) -> u64 {
        SystemEnvironment.random()
    }
}

#[tokio::test]
async fn what_is_long_deleted_vanishes_from_sessions() {
    let clock = Arc::new(Clock::default());
    let options_of_store = store::Options {
        sweep: false,
        deleted_days: 30,
        environment: clock.clone(),
        ..store::Options::default()
    };
    let fixture = Fixture::over(options(), options_of_store).await;
    let mut one = fixture.select(5).await;
    let mut two = fixture.log_in().await;
    two.ok("ENABLE QRESYNC").await;
    let said = two.ok("SELECT INBOX").await;
    let validity = said.iter().find_map(|line| Some(line.split_once("UIDVALIDITY ")?.1.split_once(']')?.0));
    let validity = validity.expect("a UIDVALIDITY").to_owned();
    one.ok("STORE 2,4:5 +FLAGS.SILENT (\\Deleted)").await;
    one.ok("STORE 5 -FLAGS.SILENT (\\Deleted)").await;
    let said = two.ok("NOOP").await;
    assert_eq!(said.len(), 3, "{said:?}");
    let known = two.ok("STATUS INBOX (HIGHESTMODSEQ)").await;
    let known = known[0].trim_end_matches(')').rsplit(' ').next().expect("a number").to_owned();

    let tag = two.begin("IDLE").await;
    assert!(two.line().await.starts_with("+ "));
    clock.0.fetch_add(31 * 86_400, Ordering::Relaxed);
    assert_eq!(fixture.store.sweep_all().await.expect("swept").messages, 2);
    assert_eq!(two.line().await, "* VANISHED 2,4");
    two.send("DONE\r\n").await;
    two.end(&tag).await;
    one.says("NOOP", &["* 2 EXPUNGE", "* 3 EXPUNGE"]).await;
    // And who was away.
    let mut three = fixture.log_in().await;
    three.ok("ENABLE QRESYNC").await;
    let said = three.ok(&format!("SELECT INBOX (QRESYNC ({validity} {known}))")).await;
    assert!(said.contains(&"* VANISHED (EARLIER) 2,4".to_owned()), "{said:?}");
    let quota = three.ok("STATUS INBOX (MESSAGES DELETED)").await;
    assert_eq!(quota, ["* STATUS INBOX (MESSAGES 3 DELETED 0)"]);
}
