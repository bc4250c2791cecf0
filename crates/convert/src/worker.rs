//! A worker: a process that converts one part after the other, from its standard input to its standard output, until
//! its input ends.
//!
//! Its bounds hold before it reads an octet. A conversion that needs more memory or time than these ends the process,
//! which is what tells the converter. Without new files, sockets and processes there is nobody to tell what a part that
//! broke a decoder would have it tell, but the account whose part it was: a worker has nothing of another one but what
//! it has not overwritten in its memory.

use std::io::{self, Read, Write};

use cpm_mime::recode::{self, Charset, Lacking};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::Refusal;
use crate::frame::{DONE, HEAD_BYTES_MAX, job};
use crate::limits::OUTPUT_BYTES_MAX;
use crate::picture::{self, Wanted};
use crate::plan::Job;

/// What a worker may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Memory beside what the process has when it begins, octets.
    pub memory_bytes_max: u64,
    /// Processor time of one conversion, whole seconds.
    pub cpu_seconds_max: u64,
    /// The largest part, octets.
    pub source_bytes_max: u64,
}

/// Converts until standard input ends. Call it before anything else of the process has begun: it has no file open but
/// the three that every process has.
///
/// # Errors
/// If the bounds cannot be set, or a question is none: the converter starts another worker then.
pub fn run(bounds: Bounds) -> io::Result<()> {
    confine(bounds.memory_bytes_max)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let length = u32::from_le_bytes(length) as usize;
        let mut head = vec![0; bounded(length, HEAD_BYTES_MAX)?];
        input.read_exact(&mut head)?;
        let job = job(&head).ok_or(io::ErrorKind::InvalidData)?;
        let mut length = [0; 8];
        input.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        let mut octets =
            vec![0; bounded(length, usize::try_from(bounds.source_bytes_max).unwrap_or(usize::MAX))?];
        input.read_exact(&mut octets)?;
        bound_time(bounds.cpu_seconds_max)?;
        let (status, result) = match convert(&job, &octets, bounds.memory_bytes_max) {
            Ok(result) if result.len() > OUTPUT_BYTES_MAX => (Refusal::TooLarge as u8, Vec::new()),
            Ok(result) => (DONE, result),
            Err(refusal) => (refusal as u8, Vec::new()),
        };
        drop(octets);
        output.write_all(&[status])?;
        output.write_all(&(result.len() as u32).to_le_bytes())?;
        output.write_all(&result)?;
        output.flush()?;
    }
}

fn bounded(length: usize, max: usize) -> io::Result<usize> {
    if length <= max { Ok(length) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Takes from the process what it does not need.
fn confine(memory_bytes_max: u64) -> io::Result<()> {
    // What the process has mapped, in pages: all of it, and of it what is data and stack (proc(5)).
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let page = rustix::param::page_size() as u64;
    let mapped = |field: usize| {
        let pages = statm.split_ascii_whitespace().nth(field).and_then(|pages| pages.parse::<u64>().ok());
        pages.map(|pages| pages * page).ok_or(io::ErrorKind::InvalidData)
    };
    let (all, data) = (mapped(0)?, mapped(5)?);
    // SAFETY: the process has just begun, and nothing in it has or knows of a descriptor above the standard ones: what
    // the parent may have let through is closed by nobody else, and used by nobody.
    #[expect(unsafe_code)]
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
    for (resource, bound) in [
        (Resource::As, all + memory_bytes_max),
        (Resource::Data, data + memory_bytes_max),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        // No further descriptor: neither files nor sockets.
        (Resource::Nofile, 0),
        // For other users than root, neither processes nor threads.
        (Resource::Nproc, 0),
    ] {
        let bound = getrlimit(resource).maximum.map_or(bound, |allowed| bound.min(allowed));
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    Ok(())
}

/// From now on the process may use so many seconds of a processor.
fn bound_time(cpu_seconds_max: u64) -> io::Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    // A second is begun already.
    let (bound, maximum) = (used + cpu_seconds_max + 1, getrlimit(Resource::Cpu).maximum);
    let current = maximum.map_or(bound, |allowed| bound.min(allowed));
    Ok(setrlimit(Resource::Cpu, Rlimit { current: Some(current), maximum })?)
}

pub(crate) fn convert(job: &Job, octets: &[u8], memory_bytes_max: u64) -> Result<Vec<u8>, Refusal> {
    let lacking = |Lacking(_)| Refusal::Lacking;
    match job {
        Job::Text { source, from, to, replacement } => {
            let kind = source.text_kind().ok_or(Refusal::Unreadable)?;
            let text = recode::text(kind, from, octets).ok_or(Refusal::Unreadable)?;
            let charset = Charset::named(to).ok_or(Refusal::Unreadable)?;
            charset.encode(&text, replacement.as_deref()).map_err(lacking)
        }
        Job::Header { to, replacement } => {
            let done = recode::header(octets, to, replacement.as_deref()).ok_or(Refusal::Unreadable)?;
            done.map_err(lacking)
        }
        &Job::Picture { source, target, width, height } => {
            picture::convert(octets, Wanted { source, target, width, height }, memory_bytes_max)
        }
    }
}
