//! Two sessions on one folder: one idles, or listens in another way, the other appends; how soon does the first hear of
//! it?

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Fault};
use crate::pace::Next;
use crate::record::Record;
use crate::scan::{Kind, Response, Status};
use crate::template::Facts;

use super::session::{Session, log_in};
use super::timer::Timer;
use super::{Shared, begin, ready};

/// How long a notice is waited for.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(30);

pub async fn run(shared: &Shared, index: u32, record: &RefCell<Record>) -> Result<(), Fault> {
    let opened = async {
        let _turn = shared.turn().await;
        let mut session = Session::open(shared, index).await?;
        let watcher = Watcher::open(shared, index, &mut session.facts).await?;
        Ok((session, watcher))
    };
    let (mut session, mut watcher) = ready(shared, opened.await)?;
    let window = begin(shared).await?;
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
        let pause = pause + session.facts.random.below(pause.max(1));
        tokio::time::sleep(Duration::from_micros(pause)).await;
        let sent = if shared.open_loop() { due } else { Instant::now() };
        let tag = session.append(shared, 0).await?;
        let heard = append_and_hear(&mut session.connection, &mut watcher, tag);
        let heard = tokio::time::timeout(NOTICE_TIMEOUT, heard).await;
        let mut record = record.borrow_mut();
        match heard {
            Ok(heard) => match heard? {
                Heard { status: Status::Ok, answered, noticed } => {
                    let open = shared.open_loop();
                    record.operation(0, &window, false, answered, noticed.max(answered), 1);
                    record.operation(1, &window, open, sent, noticed, 1);
                    shared.done.fetch_add(1, Ordering::Relaxed);
                }
                Heard { .. } => record.errors.no += 1,
            },
            Err(_elapsed) => {
                record.errors.unanswered += 1;
                record.errors.sample("no notice in time");
                return Ok(());
            }
        }
    }
}

/// The session that listens.
struct Watcher {
    connection: Connection,
    /// How many messages the folder had at the last notice.
    messages: u64,
    /// It hears EXISTS of its selected folder; else STATUS of one that is not selected.
    idles: bool,
}

impl Watcher {
    async fn open(shared: &Shared, index: u32, facts: &mut Facts) -> Result<Self, Fault> {
        let (account, _) = shared.plan.owner(index);
        let mut connection = log_in(&shared.plan, account).await?;
        let task = &shared.plan.tasks[0];
        let folder = facts.folder.clone();
        let mut messages = 0;
        if !task.work.command.is_empty() {
            let mut listen = Vec::new();
            task.command.write(facts, &mut listen);
            let status = format!("STATUS \"{folder}\" (MESSAGES)");
            for command in [String::from_utf8_lossy(&listen).as_ref(), &status] {
                connection
                    .command(command, |response| {
                        messages = response.number_after(b"MESSAGES").unwrap_or(messages);
                    })
                    .await?;
            }
            return Ok(Self { connection, messages, idles: false });
        }
        connection
            .command(&format!("SELECT \"{folder}\""), |response| {
                if let Some((count, b"EXISTS")) = response.numbered() {
                    messages = count;
                }
            })
            .await?;
        connection.begin();
        connection.out().extend_from_slice(b"IDLE");
        connection.end();
        connection.until_continued().await?;
        Ok(Self { connection, messages, idles: true })
    }
}

/// How many messages a notice tells of, if it is one.
fn noticed_messages(response: &Response<'_>, idles: bool) -> Option<u64> {
    match response.numbered() {
        Some((count, b"EXISTS")) if idles => Some(count),
        _ if idles => None,
        _ => response.rest().starts_with(b"STATUS ").then(|| response.number_after(b"MESSAGES")).flatten(),
    }
}

struct Heard {
    status: Status,
    answered: Instant,
    noticed: Instant,
}

/// Sends the APPEND that is written and waits for both its answer and the watcher's notice; for the answer alone
/// when it is a refusal.
async fn append_and_hear(appender: &mut Connection, watcher: &mut Watcher, tag: u32) -> Result<Heard, Fault> {
    let mut answered = None;
    let mut noticed = None;
    let Watcher { connection: idler, messages, idles } = watcher;
    std::future::poll_fn(|cx| {
        if answered.is_none() {
            let polled = appender.poll_exchange(cx, &mut |response| {
                if let Kind::Tagged(got, status) = response.kind
                    && got == tag
                {
                    answered = Some((status, Instant::now()));
                }
                answered.is_some()
            });
            if let Poll::Ready(Err(fault)) = polled {
                return Poll::Ready(Err(fault));
            }
        }
        if noticed.is_none() {
            let polled = idler.poll_exchange(cx, &mut |response| {
                if let Some(count) = noticed_messages(&response, *idles)
                    && count > *messages
                {
                    *messages = count;
                    noticed = Some(Instant::now());
                }
                noticed.is_some()
            });
            if let Poll::Ready(Err(fault)) = polled {
                return Poll::Ready(Err(fault));
            }
        }
        match (answered, noticed) {
            (Some((Status::Ok, answered)), Some(noticed)) => {
                Poll::Ready(Ok(Heard { status: Status::Ok, answered, noticed }))
            }
            (Some((status @ (Status::No | Status::Bad), at)), _) => {
                Poll::Ready(Ok(Heard { status, answered: at, noticed: at }))
            }
            _ => Poll::Pending,
        }
    })
    .await
}
