//! Programs: what connections do, as data that can be generated, shrunk, printed and kept.

use std::fmt;

use proptest::prelude::*;

/// The names of folders that programs use; all accounts have INBOX.
pub const FOLDERS: [&str; 3] = ["INBOX", "a", "b"];

/// The flags and keywords that programs use.
const FLAGS: [&str; 6] = ["\\Deleted", "\\Seen", "\\Flagged", "$a", "$b", "\\Answered"];

/// A set of flags, a bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlagSet(pub u8);

impl FlagSet {
    pub const DELETED: Self = Self(1);
    pub const SEEN: Self = Self(2);

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flag of that name; none for \Recent, which is no state of a message.
    pub fn parse(name: &str) -> Result<Option<Self>, String> {
        if name.eq_ignore_ascii_case("\\Recent") {
            return Ok(None);
        }
        let found = FLAGS.iter().position(|flag| flag.eq_ignore_ascii_case(name));
        found.map(|at| Some(Self(1 << at))).ok_or_else(|| format!("the flag {name} was never set"))
    }

    pub fn parse_all<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut set = Self::default();
        for name in names {
            set.0 |= Self::parse(name)?.unwrap_or_default().0;
        }
        Ok(set)
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..FLAGS.len()).filter(move |at| self.0 & (1 << at) != 0).map(|at| FLAGS[at])
    }
}

impl fmt::Display for FlagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Debug for FlagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlagSet({} /* {self} */)", self.0)
    }
}

/// What a connection understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rev1,
    Condstore,
    Qresync,
    Rev2,
    Rev2Qresync,
}

/// What the engine suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// What the store survives by trying again.
    Rough,
    /// Commits are refused or stay unknown so often that commands fail.
    Stormy,
}

/// Several connections of one account, and what they do.
#[derive(Clone, Debug)]
pub struct Program {
    pub seed: u64,
    pub weather: Weather,
    pub kinds: Vec<Kind>,
    pub steps: Vec<Step>,
}

/// A step begins when all before it is answered.
#[derive(Clone, Debug)]
pub enum Step {
    /// One command of one connection.
    On(usize, Cmd),
    /// Commands of different connections at once.
    Together(Vec<(usize, Cmd)>),
}

/// Messages: each pair is a place and how many more, taken modulo what there is when the command is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Seq(Vec<(u8, u8)>),
    Uid(Vec<(u8, u8)>),
    AllSeq,
    AllUid,
}

impl Which {
    pub fn by_uid(&self) -> bool {
        matches!(self, Self::Uid(_) | Self::AllUid)
    }

    /// One message of it.
    pub fn first(&self) -> Self {
        let first = |places: &[(u8, u8)]| vec![(places.first().map_or(0, |(place, _)| *place), 0)];
        match self {
            Self::Seq(places) => Self::Seq(first(places)),
            Self::Uid(places) => Self::Uid(first(places)),
            Self::AllSeq => Self::Seq(first(&[])),
            Self::AllUid => Self::Uid(first(&[])),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Add,
    Remove,
    Replace,
}

/// What SELECT tells of what is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// Which of the points the connection once saw, from the newest.
    pub back: u8,
    /// Whether the known UIDs are sent.
    pub known: bool,
    /// Whether pairs of numbers and UIDs are sent; needs the known UIDs.
    pub matched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    All,
    With(FlagSet),
    Without(FlagSet),
    /// MODSEQ, so far below the highest.
    ModSeq(u8),
}

/// A command. Folders are indexes into [`FOLDERS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cmd {
    Append {
        to: usize,
        messages: Vec<FlagSet>,
    },
    Store {
        which: Which,
        how: How,
        silent: bool,
        flags: FlagSet,
        unchanged_since: Option<u8>,
    },
    Copy {
        which: Which,
        to: usize,
    },
    Move {
        which: Which,
        to: usize,
    },
    Expunge,
    UidExpunge {
        which: Vec<(u8, u8)>,
    },
    Close,
    Unselect,
    Select {
        folder: usize,
        examine: bool,
        resync: Option<Resync>,
    },
    Noop,
    /// UID and FLAGS.
    Fetch {
        which: Which,
    },
    /// The octets, which sets \Seen.
    Read {
        which: Which,
    },
    /// FETCH CHANGEDSINCE a point the connection once saw.
    Changes {
        back: u8,
        vanished: bool,
    },
    Search {
        uid: bool,
        key: Key,
    },
    Status {
        folder: usize,
    },
    Create {
        folder: usize,
    },
    Delete {
        folder: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    /// Until the connection's next command.
    Idle,
}

fn flags() -> impl Strategy<Value = FlagSet> {
    // \Deleted often, or EXPUNGE has nothing to do.
    (0..64u8, prop::bool::weighted(0.4)).prop_map(|(bits, deleted)| FlagSet(bits & 0x3e | u8::from(deleted)))
}

fn places() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0..12u8, 0..4u8), 1..3)
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        4 => places().prop_map(Which::Seq),
        4 => places().prop_map(Which::Uid),
        1 => Just(Which::AllSeq),
        1 => Just(Which::AllUid),
    ]
}

fn folder() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0usize), 2 => Just(1usize), 1 => Just(2usize)]
}

fn store() -> impl Strategy<Value = Cmd> {
    let how = prop_oneof![3 => Just(How::Add), 2 => Just(How::Remove), 1 => Just(How::Replace)];
    let since = prop::option::weighted(0.2, 0..6u8);
    (which(), how, any::<bool>(), flags(), since).prop_map(|(which, how, silent, flags, unchanged_since)| {
        Cmd::Store { which, how, silent, flags, unchanged_since }
    })
}

fn select() -> impl Strategy<Value = Cmd> {
    let resync = (0..6u8, any::<bool>(), any::<bool>()).prop_map(|(back, known, matched)| Resync {
        back,
        known,
        matched,
    });
    (folder(), prop::bool::weighted(0.15), prop::option::weighted(0.7, resync))
        .prop_map(|(folder, examine, resync)| Cmd::Select { folder, examine, resync })
}

fn key() -> impl Strategy<Value = Key> {
    let one = (0..6u8).prop_map(|bit| FlagSet(1 << bit));
    let other = (0..6u8).prop_map(|bit| FlagSet(1 << bit));
    prop_oneof![
        Just(Key::All),
        one.prop_map(Key::With),
        other.prop_map(Key::Without),
        (0..6u8).prop_map(Key::ModSeq),
    ]
}

fn command() -> impl Strategy<Value = Cmd> {
    prop_oneof![
        16 => (folder(), prop::collection::vec(flags(), 1..4))
            .prop_map(|(to, messages)| Cmd::Append { to, messages }),
        20 => store(),
        6 => (which(), folder()).prop_map(|(which, to)| Cmd::Copy { which, to }),
        7 => (which(), folder()).prop_map(|(which, to)| Cmd::Move { which, to }),
        9 => Just(Cmd::Expunge),
        4 => places().prop_map(|which| Cmd::UidExpunge { which }),
        2 => Just(Cmd::Close),
        1 => Just(Cmd::Unselect),
        8 => select(),
        9 => Just(Cmd::Noop),
        6 => which().prop_map(|which| Cmd::Fetch { which }),
        3 => which().prop_map(|which| Cmd::Read { which }),
        5 => (0..6u8, any::<bool>()).prop_map(|(back, vanished)| Cmd::Changes { back, vanished }),
        5 => (any::<bool>(), key()).prop_map(|(uid, key)| Cmd::Search { uid, key }),
        3 => folder().prop_map(|folder| Cmd::Status { folder }),
        4 => (1..3usize).prop_map(|folder| Cmd::Create { folder }),
        1 => folder().prop_map(|folder| Cmd::Delete { folder }),
        2 => (folder(), folder()).prop_map(|(from, to)| Cmd::Rename { from, to }),
        6 => Just(Cmd::Idle),
    ]
}

fn step(connections: usize) -> impl Strategy<Value = Step> {
    let together = prop::collection::vec(command(), 2..=connections).prop_flat_map(move |commands| {
        Just((0..connections).collect::<Vec<_>>())
            .prop_shuffle()
            .prop_map(move |order| Step::Together(order.into_iter().zip(commands.clone()).collect()))
    });
    prop_oneof![
        3 => (0..connections, command()).prop_map(|(on, command)| Step::On(on, command)),
        1 => together,
    ]
}

/// Programs of up to `steps` steps.
pub fn programs(steps: usize) -> impl Strategy<Value = Program> {
    let kind = prop_oneof![
        2 => Just(Kind::Rev1),
        2 => Just(Kind::Condstore),
        3 => Just(Kind::Qresync),
        1 => Just(Kind::Rev2),
        2 => Just(Kind::Rev2Qresync),
    ];
    let weather = prop_oneof![
        1 => Just(Weather::Calm),
        2 => Just(Weather::Rough),
        2 => Just(Weather::Stormy),
    ];
    (any::<u64>().no_shrink(), weather, prop::collection::vec(kind, 2..=4)).prop_flat_map(
        move |(seed, weather, kinds)| {
            let all = prop::collection::vec(step(kinds.len()), 1..=steps);
            all.prop_map(move |steps| Program { seed, weather, kinds: kinds.clone(), steps })
        },
    )
}

impl fmt::Display for Program {
    /// As it stands in a list of programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Program {{ seed: {}, weather: {:?}, kinds: vec!{:?}, steps: vec![",
            self.seed, self.weather, self.kinds
        )?;
        for step in &self.steps {
            let text = format!("{step:?}");
            // Lists of programs are Rust: vectors are not written as slices.
            writeln!(f, "    {},", text.replace('[', "vec!["))?;
        }
        f.write_str("]}")
    }
}
