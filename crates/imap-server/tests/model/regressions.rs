//! Programs that failed once, shortened. All begin with messages 1 to 3 in INBOX, of which 3 is marked as deleted, and
//! every connection there.

use crate::program::Step::{On, Together};
use crate::program::{Cmd, FlagSet, How, Kind, Program, Step, Weather, Which};

fn program(kinds: Vec<Kind>, steps: Vec<Step>) -> Program {
    Program { seed: 1, weather: Weather::Calm, kinds, steps }
}

fn store(which: Which, how: How, silent: bool, flags: u8) -> Cmd {
    Cmd::Store { which, how, silent, flags: FlagSet(flags), unchanged_since: None }
}

pub fn programs() -> Vec<Program> {
    // Both change the same messages at once, many times: a change after one's own silent one was hidden with it.
    let race = |on: usize| {
        let loud = store(Which::AllUid, How::Add, false, 38);
        let silent = store(Which::AllSeq, How::Remove, true, 52);
        Together(vec![(on, loud), (1 - on, silent)])
    };
    vec![
        // A MODSEQ above that of a removal that was held back: who returned to it never heard of the removal.
        program(
            vec![Kind::Qresync, Kind::Rev1],
            vec![On(1, Cmd::Expunge), On(0, store(Which::Seq(vec![(0, 0)]), How::Add, false, 4))],
        ),
        // CLOSE gave a HIGHESTMODSEQ above changes of others that were not told.
        program(
            vec![Kind::Qresync, Kind::Rev1],
            vec![On(1, Cmd::Append { to: 0, messages: vec![FlagSet(4)] }), On(0, Cmd::Close)],
        ),
        program(vec![Kind::Qresync, Kind::Condstore], (0..40).map(|step| race(step % 2)).collect()),
    ]
}
