//! The worker processes of a converter.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::frame::{DONE, head};
use crate::limits::{CONVERSIONS_PER_WORKER_MAX, OUTPUT_BYTES_MAX, WAITING_PER_WORKER_MAX};
use crate::plan::Job;
use crate::telemetry::{self, Busy, Death};
use crate::{Converted, Failure, Options, Refusal};

/// Workers, as many as there may be; those at rest wait for the next part.
pub(crate) struct Pool {
    options: Options,
    places: Semaphore,
    waiting: Semaphore,
    idle: Mutex<Vec<Worker>>,
}

/// The right to have a worker at work.
pub(crate) struct Place<'a> {
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
    _busy: Busy,
}

/// A process, killed when dropped.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    conversions: u32,
}

/// How a worker failed at a part.
enum Failed {
    /// It ended, or could not be spoken to.
    Dead,
    /// It answered what is no answer.
    Nonsense,
}

impl Pool {
    pub fn new(options: Options) -> Self {
        let workers = options.workers.max(1);
        Self {
            places: Semaphore::new(workers),
            waiting: Semaphore::new(workers * WAITING_PER_WORKER_MAX),
            idle: Mutex::default(),
            options,
        }
    }

    /// A place, as soon as there is one; none if that takes too long, or too many wait.
    pub async fn place(&self) -> Option<Place<'_>> {
        let place = async {
            let _waiting = self.waiting.try_acquire().ok()?;
            tokio::time::timeout(self.options.time_max, self.places.acquire()).await.ok()?.ok()
        };
        let Some(permit) = place.await else {
            telemetry::busy();
            return None;
        };
        Some(Place { pool: self, _permit: permit, _busy: Busy::new() })
    }

    pub fn rest(&self) {
        self.idle.lock().clear();
    }

    fn start(&self) -> std::io::Result<Worker> {
        let (program, arguments) = &self.options.program;
        let bounds =
            [self.options.memory_bytes_max, self.options.cpu_seconds_max, self.options.source_bytes_max];
        let mut child = Command::new(program)
            .args(arguments)
            .args(bounds.map(|bound| bound.to_string()))
            // Nothing of the server's: its settings may have secrets. The allocator takes memory as it is needed, and
            // not a great deal ahead that no bound would count.
            .env_clear()
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("a worker without pipes");
        Ok(Worker {
            input: child.stdin.take().ok_or_else(missing)?,
            output: child.stdout.take().ok_or_else(missing)?,
            child,
            conversions: 0,
        })
    }

    /// A worker, and whether it has been at work before.
    fn worker(&self) -> std::io::Result<(Worker, bool)> {
        // Not in the condition: the lock would be held by what follows.
        let idle = self.idle.lock().pop();
        match idle {
            Some(worker) => Ok((worker, true)),
            None => Ok((self.start()?, false)),
        }
    }
}

impl Place<'_> {
    /// Has a worker convert a part.
    pub async fn convert(
        &self,
        job: &Job,
        source: Bytes,
    ) -> Result<Result<Arc<Converted>, Refusal>, Failure> {
        let began = Instant::now();
        let done = self.by_a_worker(job, &source).await;
        let result = match &done {
            Ok(Ok(_)) => "ok",
            Ok(Err(refusal)) => refusal.name(),
            Err(_) => "failed",
        };
        telemetry::converted(job, began.elapsed(), result);
        done
    }

    async fn by_a_worker(
        &self,
        job: &Job,
        source: &[u8],
    ) -> Result<Result<Arc<Converted>, Refusal>, Failure> {
        if source.len() as u64 > self.pool.options.source_bytes_max {
            return Ok(Err(Refusal::TooLarge));
        }
        loop {
            let (mut worker, used) = match self.pool.worker() {
                Ok(worker) => worker,
                Err(error) => {
                    tracing::warn!(%error, "a worker for conversions cannot be started");
                    telemetry::died(Death::Other);
                    return Err(Failure::Busy);
                }
            };
            let asked = tokio::time::timeout(self.pool.options.time_max, worker.ask(job, source));
            let death = match asked.await {
                Ok(Ok(answer)) => {
                    worker.conversions += 1;
                    if worker.conversions < CONVERSIONS_PER_WORKER_MAX {
                        self.pool.idle.lock().push(worker);
                    }
                    return Ok(answer.map(Arc::new));
                }
                Ok(Err(Failed::Nonsense)) => Death::Abort,
                Ok(Err(Failed::Dead)) => match worker.child.wait().await {
                    Ok(status) => cause(status),
                    Err(_) => Death::Other,
                },
                Err(_) => Death::Slow,
            };
            telemetry::died(death);
            tracing::info!(?death, ?job, octets = source.len(), "a worker died of a conversion");
            match death {
                Death::Time | Death::Abort => return Ok(Err(Refusal::TooCostly)),
                // One that was at rest may have been ended by what had nothing to do with this part.
                Death::Other if used => {}
                Death::Other | Death::Slow => return Err(Failure::Busy),
            }
        }
    }
}

/// What a worker died of, as far as its own doing shows.
fn cause(status: ExitStatus) -> Death {
    const PANICKED: i32 = 101;
    match (status.signal(), status.code()) {
        (Some(libc::SIGXCPU), _) => Death::Time,
        (Some(libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS | libc::SIGILL), _) | (_, Some(PANICKED)) => {
            Death::Abort
        }
        _ => Death::Other,
    }
}

impl Worker {
    async fn ask(&mut self, job: &Job, source: &[u8]) -> Result<Result<Converted, Refusal>, Failed> {
        let dead = |_: std::io::Error| Failed::Dead;
        let head = head(job);
        let mut question = Vec::with_capacity(head.len() + 12);
        question.extend_from_slice(&(head.len() as u32).to_le_bytes());
        question.extend_from_slice(&head);
        question.extend_from_slice(&(source.len() as u64).to_le_bytes());
        self.input.write_all(&question).await.map_err(dead)?;
        self.input.write_all(source).await.map_err(dead)?;
        self.input.flush().await.map_err(dead)?;
        let status = self.output.read_u8().await.map_err(dead)?;
        let length = self.output.read_u32_le().await.map_err(dead)? as usize;
        if length > OUTPUT_BYTES_MAX {
            return Err(Failed::Nonsense);
        }
        let mut octets = vec![0; length];
        self.output.read_exact(&mut octets).await.map_err(dead)?;
        if status != DONE {
            return Refusal::from_status(status).map(Err).ok_or(Failed::Nonsense);
        }
        let lines = memchr::memchr_iter(b'\n', &octets).count() as u64;
        Ok(Ok(Converted { octets: octets.into(), lines }))
    }
}
