//! Delivery of what is told of one account: in order, each until it is accepted or given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{AccountId, Partition};
use store::records::{DeadLetter, FeedEntry};
use tokio::time::Instant;

use crate::circuit;
use crate::client::Verdict;
use crate::database::Addressee;
use crate::encode::encode;
use crate::limits::{LETTER_BYTES_MAX, REASON_BYTES_MAX, STORE_PAUSE_MAX, STORE_PAUSE_MIN};
use crate::notice::Notice;
use crate::resolve::{self, Detail};
use crate::{Shared, telemetry};

/// The process ends before the work is done; it is done again by whoever comes next.
pub(crate) struct Stopped;

/// What became of one notice.
enum Outcome {
    /// Accepted, or given up and kept.
    Done,
    /// It has become too old to tell its details.
    Stale,
}

/// Tells of these entries, which are all of one account and in order.
pub(crate) async fn entries(
    shared: &Arc<Shared>,
    partition: Partition,
    account: AccountId,
    entries: &[FeedEntry],
) -> Result<(), Stopped> {
    let oldest = entries.iter().map(|entry| entry.at_millis).min().unwrap_or(0);
    let mut detail = if shared.is_stale(oldest) { Detail::Folders } else { Detail::Objects };
    loop {
        let Some(to) = addressee(shared, account).await? else { return Ok(()) };
        let resolved = {
            let look = || async {
                resolve::resolve(shared.store.as_ref(), account, &to, entries, detail)
                    .await
                    .map_err(|error| error.to_string())
            };
            shared.until_it_works("reading of messages", look).await?
        };
        shared.telemetry.suppressed.increment(resolved.suppressed);
        if resolved.collapsed {
            shared.telemetry.collapsed.increment(1);
            detail = Detail::Folders;
        }
        let mut stale = false;
        for mut notice in resolved.notices {
            let patient = detail == Detail::Folders;
            if let Outcome::Stale = deliver(shared, partition, account, &mut notice, patient).await? {
                stale = true;
                break;
            }
        }
        if !stale {
            return Ok(());
        }
        // Those of this round that were accepted are told again as part of their folder.
        detail = Detail::Folders;
    }
}

/// Tells an account to look again, whatever changed.
pub(crate) async fn resync(
    shared: &Arc<Shared>,
    partition: Partition,
    account: AccountId,
) -> Result<(), Stopped> {
    let Some(to) = addressee(shared, account).await? else { return Ok(()) };
    let mut notice = resolve::resync(&to, shared.now_millis());
    deliver(shared, partition, account, &mut notice, true).await.map(drop)
}

async fn addressee(shared: &Arc<Shared>, account: AccountId) -> Result<Option<Addressee>, Stopped> {
    let look = || async { shared.database.addressee(account).await.map_err(|error| error.to_string()) };
    shared.until_it_works("reading of devices", look).await
}

/// Posts a notice until it is accepted or given up. `patient`: also when it has become older than it is worth.
async fn deliver(
    shared: &Arc<Shared>,
    partition: Partition,
    account: AccountId,
    notice: &mut Notice,
    patient: bool,
) -> Result<Outcome, Stopped> {
    // Anew in each life of the process: a gateway that drops what it had before must not drop what is new.
    notice.push_id = format!("{:016x}-{}", shared.instance, shared.sequence.fetch_add(1, Ordering::Relaxed));
    let (mut attempts, mut answered) = (0, 0);
    loop {
        let place = shared.stoppable(shared.workers.acquire()).await?;
        let pass = shared.stoppable(shared.circuit.enter()).await?;
        // After the wait, which may have been long.
        if !patient && shared.is_stale(notice.changed_at_millis) {
            return Ok(Outcome::Stale);
        }
        let encoded = encode(notice, &shared.options.style, shared.now_millis());
        if attempts > 0 {
            shared.telemetry.retried.increment(1);
        }
        let began = Instant::now();
        let answer = shared.client.post(&encoded).await;
        shared.telemetry.answer_seconds.record(began.elapsed().as_secs_f64());
        drop(place);
        let reason = match answer.verdict {
            Verdict::Accepted => {
                shared.closed(pass.answered());
                telemetry::sent(notice.kind);
                let late = shared.now_millis().saturating_sub(notice.changed_at_millis).max(0);
                shared.telemetry.latency_seconds.record(late as f64 / 1_000.0);
                return Ok(Outcome::Done);
            }
            Verdict::Refused(reason) => {
                shared.closed(pass.answered());
                telemetry::failed("refused");
                shared.telemetry.refused.increment(1);
                bury(shared, partition, account, notice, attempts + 1, reason).await?;
                return Ok(Outcome::Done);
            }
            Verdict::Failed(reason) => {
                shared.closed(pass.answered());
                telemetry::failed("failed");
                attempts += 1;
                reason
            }
            Verdict::Unavailable(reason) => {
                telemetry::failed("unavailable");
                if pass.failed(answer.retry_after) {
                    shared.telemetry.circuit_open.set(1.0);
                    tracing::warn!(reason, "the PUSH enabler takes no notices; it is tried until it does");
                }
                // While it takes nobody's, that says nothing of this one.
                let others = shared.circuit.answered();
                if attempts == 0 || others > answered {
                    attempts += 1;
                }
                answered = others;
                reason
            }
        };
        if attempts >= shared.options.attempts_max {
            shared.telemetry.exhausted.increment(1);
            bury(shared, partition, account, notice, attempts, reason).await?;
            return Ok(Outcome::Done);
        }
        let pause = circuit::pause(attempts, shared.options.retry_pause_max);
        shared.stoppable(tokio::time::sleep(pause)).await?;
    }
}

/// Keeps a notice that is given up, for the operator.
async fn bury(
    shared: &Arc<Shared>,
    partition: Partition,
    account: AccountId,
    notice: &Notice,
    attempts: u32,
    reason: String,
) -> Result<(), Stopped> {
    let encoded = encode(notice, &shared.options.style, shared.now_millis());
    tracing::warn!(
        account = %account,
        push_id = notice.push_id,
        kind = notice.kind.name(),
        attempts,
        reason,
        "a notice is given up; it is kept among the dead letters"
    );
    let reason = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
    let letter = DeadLetter {
        account,
        changed_at_millis: notice.changed_at_millis,
        given_up_at_millis: shared.now_millis(),
        attempts,
        push_id: notice.push_id.clone(),
        trigger: notice.trigger.clone(),
        reason,
        content_type: encoded.content_type,
        headers: encoded.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        body: Some(encoded.body).filter(|body| body.len() <= LETTER_BYTES_MAX).unwrap_or_default().to_vec(),
    };
    // Ascends with time, and no two are the same: the order in which they give way.
    let number = (u64::try_from(letter.given_up_at_millis).unwrap_or(0) << 20)
        | (shared.sequence.fetch_add(1, Ordering::Relaxed) & 0xF_FFFF);
    let write = || async {
        shared.database.bury(partition, number, &letter).await.map_err(|error| error.to_string())
    };
    let lost = shared.until_it_works("keeping of a dead letter", write).await?;
    shared.telemetry.letters_lost.increment(lost);
    Ok(())
}

impl Shared {
    /// Waits for `work`, unless the process stops.
    pub(crate) async fn stoppable<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            done = work => Ok(done),
        }
    }

    /// Does `work` again until it succeeds, unless the process stops.
    pub(crate) async fn until_it_works<T, F>(
        &self,
        what: &'static str,
        mut work: impl FnMut() -> F,
    ) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, String>>,
    {
        let mut pause = STORE_PAUSE_MIN;
        loop {
            match self.stoppable(work()).await? {
                Ok(done) => return Ok(done),
                Err(error) => {
                    self.telemetry.store_failures.increment(1);
                    if pause >= Duration::from_secs(1) {
                        tracing::warn!(error, "the {what} fails; it is tried again");
                    }
                    self.stoppable(tokio::time::sleep(pause)).await?;
                    pause = (pause * 2).min(STORE_PAUSE_MAX);
                }
            }
        }
    }

    /// Whether a change of that time is too old to be told in detail.
    fn is_stale(&self, at_millis: i64) -> bool {
        let age = self.now_millis().saturating_sub(at_millis);
        age > i64::try_from(self.options.style.ttl_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
    }

    fn closed(&self, closed: bool) {
        if closed {
            self.telemetry.circuit_open.set(0.0);
            tracing::info!("the PUSH enabler answers again");
        }
    }
}
