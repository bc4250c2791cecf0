//! Work left for the sweeper; what it concerns stands in the key.

use model::BodyId;

use super::codec::{Reader, Writer};
use super::{FolderRecord, StateRecord};

/// Version 2 says of a staged body whether its facts matter.
const VERSION: u8 = 2;

/// Work left for the sweeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// A body written ahead.
    Staged {
        /// When its writer last wrote, seconds since 1970-01-01 UTC.
        touched_at: i64,
        /// Its announced octets.
        size: u64,
        /// Whether it is whole, and may become a message.
        finished: bool,
        /// Whether it is whole and its facts are asked for when it becomes a message: it is a CPM object, or its header
        /// names the device that read or deleted it.
        facts_matter: bool,
    },
    /// Bodies that each lost one reference.
    Released(Vec<BodyId>),
    /// A deleted folder's rows and log, a log to trim, or a removed account: all is said by the key.
    Marked,
    /// A folder that is being restored. Boxed, since it is rare and large.
    Restoring(Box<Restoring>),
}

/// A folder that is being restored: what will be its records, its counters those of the rows so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restoring {
    /// When it was last written to, seconds since 1970-01-01 UTC.
    pub touched_at: i64,
    /// The first UID that is not restored yet, 1 to 2^32.
    pub next_uid: u64,
    /// Its entry in the tree to be.
    pub folder: FolderRecord,
    /// Its state to be.
    pub state: StateRecord,
}

impl Pending {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Staged { touched_at, size, finished, facts_matter } => {
                let mut out = Writer::new(VERSION, 24);
                out.u8(1).signed(*touched_at).number(*size).u8(u8::from(*finished));
                out.u8(u8::from(*facts_matter));
                out.done()
            }
            Self::Released(bodies) => {
                let mut out = Writer::new(VERSION, 8 + 3 * bodies.len());
                out.u8(2).number(bodies.len() as u64);
                let mut last = 0u64;
                for body in bodies {
                    out.signed((body.0 as i64).wrapping_sub(last as i64));
                    last = body.0;
                }
                out.done()
            }
            Self::Marked => {
                let mut out = Writer::new(VERSION, 2);
                out.u8(3);
                out.done()
            }
            Self::Restoring(restoring) => {
                let (folder, state) = (restoring.folder.encode(), restoring.state.encode());
                let mut out = Writer::new(VERSION, 32 + folder.len() + state.len());
                out.u8(4).signed(restoring.touched_at).number(restoring.next_uid);
                out.counted(&folder).counted(&state);
                out.done()
            }
        }
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ 1..=VERSION, mut input) = Reader::new(record)? else { return None };
        match input.u8()? {
            1 => {
                let (touched_at, size) = (input.signed()?, input.number()?);
                let mut mark = || match input.u8()? {
                    0 => Some(false),
                    1 => Some(true),
                    _ => None,
                };
                let finished = mark()?;
                let facts_matter = version > 1 && mark()?;
                input.end(Self::Staged { touched_at, size, finished, facts_matter })
            }
            2 => {
                let count = usize::try_from(input.number()?).ok()?;
                if count > input.left() {
                    return None;
                }
                let mut bodies = Vec::with_capacity(count);
                let mut last = 0i64;
                for _ in 0..count {
                    last = last.wrapping_add(input.signed()?);
                    bodies.push(BodyId(last as u64));
                }
                input.end(Self::Released(bodies))
            }
            3 => input.end(Self::Marked),
            4 => {
                let restoring = Restoring {
                    touched_at: input.signed()?,
                    next_uid: input.number().filter(|uid| (1..=1 << 32).contains(uid))?,
                    folder: FolderRecord::decode(input.counted()?)?,
                    state: StateRecord::decode(input.counted()?)?,
                };
                input.end(Self::Restoring(Box::new(restoring)))
            }
            _ => None,
        }
    }
}
