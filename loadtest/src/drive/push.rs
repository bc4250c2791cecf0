//! A session that appends, and the PUSH enabler: how soon does it get the notice of each message?

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::connection::Fault;
use crate::pace::Next;
use crate::record::Record;
use crate::scan::Status;

use super::session::Session;
use super::timer::Timer;
use super::{Shared, begin, ready};

/// How long a notice is waited for.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(30);

pub async fn run(shared: &Shared, index: u32, record: &RefCell<Record>) -> Result<(), Fault> {
    let opened = async {
        let _turn = shared.turn().await;
        let session = Session::open(shared, index).await?;
        let Some(enabler) = &shared.enabler else { return Err(Fault::Late("the enabler")) };
        let noticed = enabler.listen(&session.facts.user, &session.facts.folder);
        Ok((session, noticed))
    };
    let (mut session, mut noticed) = ready(shared, opened.await)?;
    let window = begin(shared).await?;
    let open = shared.open_loop();
    let mut pace = shared.pace(window, index);
    let timer = Timer::new()?;
    loop {
        let due = match pace.next(Instant::now()) {
            Next::Start(due) => due,
            Next::Wait(at) => {
                timer.until(at).await?;
                continue;
            }
            Next::Over => return Ok(()),
        };
        let pause = shared.plan.profile.load.pause_ms * 1_000;
        if pause > 0 {
            let pause = pause + session.facts.random.below(pause);
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        let sent = if open { due } else { Instant::now() };
        let before = noticed.borrow_and_update().0;
        let tag = session.append(shared, 0).await?;
        let status = session.connection.finish(tag, |_| {}).await?;
        let answered = Instant::now();
        if !matches!(status, Status::Ok) {
            record.borrow_mut().errors.no += 1;
            continue;
        }
        // The folder is this session's own: the next newer message is the one appended.
        let heard = tokio::time::timeout(NOTICE_TIMEOUT, noticed.wait_for(|newest| newest.0 > before)).await;
        let mut record = record.borrow_mut();
        match heard {
            Ok(Ok(newest)) => {
                let came = newest.1;
                record.operation(0, &window, false, answered, came.max(answered), 1);
                record.operation(1, &window, open, sent, came, 1);
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(_)) | Err(_) => {
                record.errors.unanswered += 1;
                record
                    .errors
                    .sample("no notice in time; does push.url of the server point to push= of the target?");
                return Ok(());
            }
        }
    }
}
