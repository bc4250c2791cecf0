//! Runs a program, and checks after each step what was answered, what was told, and what became of the folders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;

use crate::bench::{Bench, PASSWORD, USER};
use crate::client::{Answer, Client, Log, Removals, Told, numbers, sequence, set};
use crate::mirror::{Mirror, Point};
use crate::program::{Cmd, FOLDERS, FlagSet, How, Key, Program, Resync, Step, Weather, Which};
use crate::world::{Claim, Folder, Op, Passed, Verdict, World, explain, later};

/// What a command is sent as, and what follows from its answer.
struct Prepared {
    text: String,
    removals: Removals,
    op: Op,
    /// The messages it names: known to the client, by UID.
    uids: BTreeSet<u32>,
    /// The state that SELECT or FETCH CHANGEDSINCE starts from.
    point: Option<Point>,
    cmd: Cmd,
    /// UIDs that the client knew before.
    before: BTreeSet<u32>,
}

impl Prepared {
    fn new(cmd: &Cmd, text: impl Into<String>, op: Op) -> Self {
        Self {
            text: text.into(),
            removals: Removals::Allowed,
            op,
            uids: BTreeSet::new(),
            point: None,
            cmd: cmd.clone(),
            before: BTreeSet::new(),
        }
    }
}

pub struct Run {
    bench: Bench,
    clients: Vec<Client>,
    log: Log,
    weather: Weather,
    world: World,
    /// The flags of a message at a MODSEQ, by folder, UID and MODSEQ.
    history: BTreeMap<(u64, u32, u64), FlagSet>,
    /// All flags that messages ever had: what was sent in IDLE may be read later.
    past: Passed,
    /// Messages appended so far; names the next one by its size.
    appended: u32,
}

/// Runs a program on a fresh account; on failure, what was wrong and all that was said.
pub async fn run(program: &Program) -> Result<(), String> {
    let log = Log::default();
    let bench = Bench::new(program.seed).await;
    let mut run = Run {
        bench,
        clients: Vec::new(),
        log: log.clone(),
        weather: Weather::Calm,
        world: World::default(),
        history: BTreeMap::new(),
        past: Passed::new(),
        appended: 0,
    };
    let told = |wrong: String| format!("{wrong}\n{}", log.lock().join("\n"));
    run.program(program).await.map_err(told)?;
    run.bench.end().await.map_err(told)
}

impl Run {
    async fn program(&mut self, program: &Program) -> Result<(), String> {
        self.world = self.bench.world().await?;
        for (number, kind) in program.kinds.iter().enumerate() {
            let address = self.bench.addresses[number % self.bench.addresses.len()];
            let mut client = Client::connect(number, *kind, address, self.log.clone()).await?;
            client.log_in(USER, PASSWORD).await?;
            self.clients.push(client);
        }
        let begin = Cmd::Append { to: 0, messages: vec![FlagSet(0), FlagSet(16), FlagSet::DELETED] };
        self.step(&[(0, begin)]).await?;
        for number in 0..self.clients.len() {
            self.step(&[(number, Cmd::Select { folder: 0, examine: false, resync: None })]).await?;
        }
        self.weather = program.weather;
        self.bench.weather(program.weather);
        for (number, step) in program.steps.iter().enumerate() {
            self.log.lock().push(format!("-- step {number}: {step:?}"));
            match step {
                Step::On(on, cmd) => self.step(&[(*on, cmd.clone())]).await?,
                Step::Together(all) => {
                    // Of two steps by itself: no order of whole commands would explain what others see.
                    let rename = |cmd: &Cmd| matches!(cmd, Cmd::Rename { from: 0, .. });
                    let mut all: Vec<_> = all.iter().filter(|(_, cmd)| !rename(cmd)).cloned().collect();
                    // FETCH marks each message as seen by itself, so that it is whole for one message only.
                    for (_, cmd) in &mut all {
                        if let Cmd::Read { which } = cmd {
                            *which = which.first();
                        }
                    }
                    self.step(&all).await?;
                }
            }
        }
        self.log.lock().push("-- end".to_owned());
        self.weather = Weather::Calm;
        self.bench.weather(Weather::Calm);
        self.finish().await
    }

    /// Every picture must be right, and every point ever seen a good one to return from.
    async fn finish(&mut self) -> Result<(), String> {
        for on in 0..self.clients.len() {
            self.step(&[(on, Cmd::Noop)]).await?;
            let points: Vec<(u64, usize)> =
                self.clients[on].points.iter().map(|(id, points)| (*id, points.len())).collect();
            for (id, count) in points {
                let Some(name) = self.world.by_id(id).map(|(name, _)| name.clone()) else { continue };
                let Some(folder) = FOLDERS.iter().position(|known| *known == name) else { continue };
                let most = 5.min(count);
                for at in 0..most {
                    let back = (at * (count - 1) / most.max(2).saturating_sub(1)) as u8;
                    let resync = Resync { back, known: at % 2 == 1, matched: at % 3 == 1 };
                    if self.clients[on].qresync() {
                        self.step(&[(on, Cmd::Select { folder, examine: true, resync: Some(resync) })])
                            .await?;
                    } else {
                        self.step(&[(on, Cmd::Select { folder, examine: true, resync: None })]).await?;
                    }
                    self.step(&[(on, Cmd::Changes { back, vanished: true })]).await?;
                }
            }
        }
        Ok(())
    }

    async fn reconnect(&mut self, on: usize) -> Result<(), String> {
        let client = &self.clients[on];
        if !client.ended {
            return Ok(());
        }
        let address = self.bench.addresses[on % self.bench.addresses.len()];
        let mut fresh = Client::connect(on, client.kind, address, self.log.clone()).await?;
        fresh.log_in(USER, PASSWORD).await?;
        fresh.points = client.points.clone();
        self.clients[on] = fresh;
        Ok(())
    }

    /// The commands of a step, at once.
    async fn step(&mut self, all: &[(usize, Cmd)]) -> Result<(), String> {
        let mut prepared: BTreeMap<usize, Prepared> = BTreeMap::new();
        for (on, cmd) in all {
            self.reconnect(*on).await?;
            self.clients[*on].end_idle().await?;
            if self.clients[*on].ended {
                self.check_ended(*on)?;
                self.reconnect(*on).await?;
            }
            let needs_folder = !matches!(
                cmd,
                Cmd::Append { .. }
                    | Cmd::Select { .. }
                    | Cmd::Noop
                    | Cmd::Status { .. }
                    | Cmd::Create { .. }
                    | Cmd::Delete { .. }
                    | Cmd::Rename { .. }
                    | Cmd::Idle
            );
            if needs_folder && self.clients[*on].mirror.is_none() {
                self.clients[*on].mirror = Some(Mirror::default());
                if !self.clients[*on].command("SELECT INBOX", Removals::Allowed).await?.ok() {
                    self.clients[*on].mirror = None;
                    continue;
                }
            }
            if needs_folder {
                self.complete(*on).await?;
                if self.clients[*on].ended {
                    self.check_ended(*on)?;
                    continue;
                }
            }
            if let Some(command) = self.prepare(*on, cmd) {
                prepared.insert(*on, command);
            }
        }
        let alone = prepared.len() == 1;

        let running = self.clients.iter_mut().filter_map(|client| {
            let command = prepared.get(&client.number)?;
            Some(async move { (client.number, execute(client, command).await) })
        });
        let answers: Vec<(usize, Result<Answer, String>)> = join_all(running).await;
        let after = self.bench.world().await?;
        later(&self.world, &after)?;

        let mut told: Vec<Told> = Vec::new();
        let mut ops = Vec::new();
        let mut answered = Vec::new();
        for (on, answer) in answers {
            let Some(command) = prepared.remove(&on) else { continue };
            let answer = answer?;
            let verdict = self.verdict(on, &command, &answer)?;
            told.extend(&answer.told);
            ops.push((command.op.clone(), verdict.clone()));
            answered.push((on, command, answer, verdict));
        }
        let mut passed = Passed::new();
        explain(&self.world, &ops, &after, &mut passed)?;
        let before = std::mem::replace(&mut self.world, after);
        self.note_history()?;
        self.check_told(&told, &before, &passed, alone)?;
        for (on, command, answer, verdict) in &answered {
            self.settle(*on, command, answer, verdict);
            self.clients[*on].note_point();
            if self.clients[*on].ended {
                self.check_ended(*on)?;
            } else if alone && answer.ok() {
                self.check_answer(*on, command, answer, &before).await?;
            }
        }
        self.past.append(&mut passed);
        self.hear(&before).await
    }

    /// Every connection in IDLE hears of what happened.
    async fn hear(&mut self, before: &World) -> Result<(), String> {
        for on in 0..self.clients.len() {
            let client = &mut self.clients[on];
            if client.idle.is_none() || client.ended {
                continue;
            }
            let folder =
                client.mirror.as_ref().and_then(|mirror| self.world.by_id(mirror.id)).map(|(_, f)| f);
            let answer = client.hear(folder).await?;
            self.check_told(&answer.told, before, &self.past, false)?;
            if self.clients[on].ended {
                self.clients[on].idle = None;
                self.check_ended(on)?;
            }
        }
        Ok(())
    }

    /// BYE is said to whom another deleted the folder, and to nobody else.
    fn check_ended(&mut self, on: usize) -> Result<(), String> {
        let id = self.clients[on].mirror.as_ref().map(|mirror| mirror.id);
        match id {
            Some(id) if self.world.by_id(id).is_none() => Ok(()),
            _ => Err(format!("{on}: BYE, but the folder is there")),
        }
    }

    /// Asks for what the client does not know of the messages it was told of.
    async fn complete(&mut self, on: usize) -> Result<(), String> {
        for _ in 0..50 {
            let client = &mut self.clients[on];
            let Some(mirror) = client.mirror.as_ref().filter(|_| !client.ended) else { return Ok(()) };
            let unknown = mirror.unknown();
            if unknown.is_empty() {
                return Ok(());
            }
            let items = if client.condstore { "UID FLAGS MODSEQ" } else { "UID FLAGS" };
            let command = format!("FETCH {} ({items})", set(unknown.iter().copied()));
            let answer = client.command(&command, Removals::Forbidden).await?;
            if answer.code.as_deref() == Some("EXPUNGEISSUED")
                && let Some(mirror) = &mut client.mirror
            {
                for number in unknown {
                    let entry = &mut mirror.entries[number as usize - 1];
                    entry.gone = entry.uid.is_none() || entry.flags.is_none();
                }
            }
            self.check_told(&answer.told, &self.world, &Passed::new(), true)?;
        }
        Err(format!("{on}: FETCH does not tell what is asked"))
    }

    fn prepare(&mut self, on: usize, cmd: &Cmd) -> Option<Prepared> {
        let name = |folder: usize| FOLDERS[folder].to_owned();
        let client = &mut self.clients[on];
        let mirror = client.mirror.clone().unwrap_or_default();
        let (id, read_only) = (mirror.id, mirror.read_only);
        let known: BTreeSet<u32> = mirror.entries.iter().filter_map(|entry| entry.uid).collect();
        let folder = self.world.by_id(id).map(|(_, folder)| folder);
        let modseq_of = |back: u8| folder.map_or(1, |f| f.highest.saturating_sub(u64::from(back)).max(1));
        let uid_of = |place: u8| u64::from(place) % (folder.map_or(1, |f| f.uid_next) + 1) + 1;
        let by_uid = |places: &[(u8, u8)]| -> BTreeSet<u32> {
            let ranges =
                places.iter().map(|(place, more)| uid_of(*place)..=uid_of(*place) + u64::from(*more));
            ranges.flatten().map(|uid| uid as u32).collect()
        };
        // The set as it is sent, and the messages that the client means.
        let resolve = |which: &Which| -> Option<(String, BTreeSet<u32>)> {
            let count = mirror.entries.len();
            // Zero stands for a message that is gone and whose UID the client never learnt.
            let uid = |number: &u32| mirror.entries[*number as usize - 1].uid.unwrap_or(0);
            match which {
                Which::Uid(places) => {
                    let uids = by_uid(places);
                    Some((set(uids.iter().copied()), uids.intersection(&known).copied().collect()))
                }
                Which::AllUid => Some(("1:*".to_owned(), known.clone())),
                _ if count == 0 => None,
                Which::AllSeq => Some(("1:*".to_owned(), (1..=count as u32).map(|n| uid(&n)).collect())),
                Which::Seq(places) => {
                    let ranges = places.iter().map(|(place, more)| {
                        let first = usize::from(*place) % count + 1;
                        first as u32..=(first + usize::from(*more)).min(count) as u32
                    });
                    let numbers: BTreeSet<u32> = ranges.flatten().collect();
                    Some((set(numbers.iter().copied()), numbers.iter().map(uid).collect()))
                }
            }
        };
        let prefix = |which: &Which| if which.by_uid() { "UID " } else { "" };
        let removals = |uid: bool| if uid { Removals::Allowed } else { Removals::Forbidden };
        let nothing = |uids: &BTreeSet<u32>| Op::Store {
            id,
            uids: uids.clone(),
            how: How::Add,
            flags: FlagSet(0),
            unchanged_since: None,
        };

        let mut prepared = match cmd {
            Cmd::Append { to, messages } => {
                let mut text = format!("APPEND {}", FOLDERS[*to]);
                let mut new = Vec::new();
                for flags in messages {
                    self.appended += 1;
                    let size = 40 + self.appended;
                    let head = "Subject: m\r\n\r\n";
                    let body = "x".repeat(size as usize - head.len());
                    text.push_str(&format!(" ({flags}) {{{size}+}}\r\n{head}{body}"));
                    new.push((*flags, size));
                }
                Prepared::new(cmd, text, Op::Append { to: name(*to), messages: new })
            }
            Cmd::Store { which, how, silent, flags, unchanged_since } => {
                let (messages, uids) = resolve(which)?;
                let since = unchanged_since.map(modseq_of);
                let since_text = since.map_or(String::new(), |since| format!(" (UNCHANGEDSINCE {since})"));
                let sign = match how {
                    How::Add => "+",
                    How::Remove => "-",
                    How::Replace => "",
                };
                let dot = if *silent { ".SILENT" } else { "" };
                let text =
                    format!("{}STORE {messages}{since_text} {sign}FLAGS{dot} ({flags})", prefix(which));
                client.condstore |= since.is_some() && !read_only;
                let (how, flags, unchanged_since) = (*how, *flags, since);
                let op = Op::Store { id, uids: uids.clone(), how, flags, unchanged_since };
                let mut prepared = Prepared::new(cmd, text, if read_only { Op::ReadOnly } else { op });
                prepared.removals = removals(which.by_uid());
                prepared.uids = uids;
                prepared
            }
            Cmd::Copy { which, to } | Cmd::Move { which, to } => {
                let moving = matches!(cmd, Cmd::Move { .. });
                let (messages, uids) = resolve(which)?;
                let verb = if moving { "MOVE" } else { "COPY" };
                let text = format!("{}{verb} {messages} {}", prefix(which), FOLDERS[*to]);
                let op = Op::Copy { id, uids, to: name(*to), moving, all: !which.by_uid() };
                Prepared::new(cmd, text, if moving && read_only { Op::ReadOnly } else { op })
            }
            Cmd::Expunge if read_only => Prepared::new(cmd, "EXPUNGE", Op::ReadOnly),
            Cmd::Expunge => Prepared::new(cmd, "EXPUNGE", Op::Expunge { id, within: None }),
            Cmd::UidExpunge { which } => {
                let uids = by_uid(which);
                let within = Some(uids.intersection(&known).copied().collect());
                let text = format!("UID EXPUNGE {}", set(uids));
                Prepared::new(cmd, text, if read_only { Op::ReadOnly } else { Op::Expunge { id, within } })
            }
            Cmd::Close if read_only => Prepared::new(cmd, "CLOSE", Op::Nothing),
            Cmd::Close => Prepared::new(cmd, "CLOSE", Op::Expunge { id, within: None }),
            Cmd::Unselect => Prepared::new(cmd, "UNSELECT", Op::Nothing),
            Cmd::Select { folder, examine, resync } => {
                let verb = if *examine { "EXAMINE" } else { "SELECT" };
                let id = self.world.folders.get(FOLDERS[*folder]).map(|folder| folder.id);
                let of_id = |id: u64| client.points.get(&id);
                let points = id.and_then(of_id).or_else(|| client.points.values().next());
                let wanted = resync.filter(|_| client.qresync());
                let point = wanted.zip(points).map(|(resync, points)| {
                    (resync, points[points.len() - 1 - usize::from(resync.back) % points.len()].clone())
                });
                let mut text = format!("{verb} {}", FOLDERS[*folder]);
                if let Some((resync, point)) = &point {
                    text.push_str(&format!(
                        " (QRESYNC ({} {}{}))",
                        point.uid_validity,
                        point.modseq,
                        known_of(resync, point)
                    ));
                }
                let mut prepared = Prepared::new(cmd, text, Op::Name { name: name(*folder) });
                prepared.point = point.map(|(_, point)| point);
                prepared
            }
            Cmd::Noop => Prepared::new(cmd, "NOOP", Op::Nothing),
            Cmd::Fetch { which } | Cmd::Read { which } => {
                let (messages, uids) = resolve(which)?;
                let modseq = if client.condstore { " MODSEQ" } else { "" };
                let (items, op) = match cmd {
                    _ if uids.is_empty() => ("UID", Op::Visit { id }),
                    Cmd::Read { .. } if !read_only => {
                        let (how, flags) = (How::Add, FlagSet::SEEN);
                        (
                            "UID BODY[]",
                            Op::Store { id, uids: uids.clone(), how, flags, unchanged_since: None },
                        )
                    }
                    _ => ("UID FLAGS", nothing(&uids)),
                };
                let modseq = if items == "UID FLAGS" { modseq } else { "" };
                let mut prepared =
                    Prepared::new(cmd, format!("{}FETCH {messages} ({items}{modseq})", prefix(which)), op);
                prepared.removals = removals(which.by_uid());
                prepared.uids = uids;
                prepared
            }
            Cmd::Changes { back, vanished } => {
                let points = client.points.get(&id);
                let point =
                    points.map(|points| points[points.len() - 1 - usize::from(*back) % points.len()].clone());
                let since = point.as_ref().map_or(1, |point| point.modseq);
                client.condstore = true;
                let vanished = if *vanished && client.qresync() { " VANISHED" } else { "" };
                let text = format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {since}{vanished})");
                let mut prepared = Prepared::new(cmd, text, Op::Visit { id });
                prepared.point = point;
                prepared
            }
            Cmd::Search { uid, key } => {
                let text = match key {
                    Key::All => "ALL".to_owned(),
                    Key::With(flag) => search_key(*flag, true),
                    Key::Without(flag) => search_key(*flag, false),
                    Key::ModSeq(back) => {
                        client.condstore = true;
                        format!("MODSEQ {}", modseq_of(*back))
                    }
                };
                let prefix = if *uid { "UID " } else { "" };
                let mut prepared = Prepared::new(cmd, format!("{prefix}SEARCH {text}"), Op::Visit { id });
                prepared.removals = removals(*uid);
                prepared
            }
            Cmd::Status { folder } => {
                let modseq = if client.condstore { " HIGHESTMODSEQ" } else { "" };
                let text =
                    format!("STATUS {} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN{modseq})", FOLDERS[*folder]);
                Prepared::new(cmd, text, Op::Name { name: name(*folder) })
            }
            Cmd::Create { folder } => {
                Prepared::new(cmd, format!("CREATE {}", FOLDERS[*folder]), Op::Create { name: name(*folder) })
            }
            Cmd::Delete { folder } => {
                Prepared::new(cmd, format!("DELETE {}", FOLDERS[*folder]), Op::Delete { name: name(*folder) })
            }
            Cmd::Rename { from, to } => {
                let text = format!("RENAME {} {}", FOLDERS[*from], FOLDERS[*to]);
                Prepared::new(cmd, text, Op::Rename { from: name(*from), to: name(*to) })
            }
            Cmd::Idle => Prepared::new(cmd, "IDLE", Op::Nothing),
        };
        prepared.before = known;
        Some(prepared)
    }

    fn verdict(&self, on: usize, command: &Prepared, answer: &Answer) -> Result<Verdict, String> {
        let calm = self.weather == Weather::Calm;
        let wrong = |what: &str| Err(format!("{on}: {}: {what}: {answer:?}", command.text));
        let code = answer.code.as_deref().map(|code| code.split(' ').next().unwrap_or_default());
        let by_number = matches!(&command.cmd, Cmd::Store { which, .. } | Cmd::Fetch { which } | Cmd::Read { which } if !which.by_uid());
        let gone = by_number && code == Some("EXPUNGEISSUED");
        match (answer.status.as_str(), code) {
            ("", _) => return Ok(Verdict::Unknown),
            ("OK", _) => {}
            ("NO", Some("EXPUNGEISSUED")) if gone => {}
            ("NO", Some("INUSE" | "UNAVAILABLE")) if !calm => return Ok(Verdict::Unknown),
            ("NO", Some("TRYCREATE")) => return Ok(Verdict::Refused("NONEXISTENT".to_owned())),
            (
                "NO",
                Some(code @ ("NONEXISTENT" | "EXPUNGEISSUED" | "READ-ONLY" | "ALREADYEXISTS" | "CANNOT")),
            ) => {
                return Ok(Verdict::Refused(code.to_owned()));
            }
            _ => return wrong("an answer that is not due"),
        }
        let mut claim = Claim { gone, ..Claim::default() };
        match &command.cmd {
            // That messages could not be marked as seen is not told.
            Cmd::Read { .. } if !calm => return Ok(Verdict::Unknown),
            Cmd::Append { .. } => {
                let Some(args) = answer.code_args("APPENDUID") else { return wrong("no APPENDUID") };
                claim.new = Some(sequence(args.get(1).unwrap_or(&""))?);
            }
            Cmd::Copy { .. } | Cmd::Move { .. } => {
                let (mut from, mut new) = (Vec::new(), Vec::new());
                if let Some(args) = answer.code_args("COPYUID") {
                    from = sequence(args.get(1).unwrap_or(&""))?;
                    new = sequence(args.get(2).unwrap_or(&""))?;
                }
                (claim.from, claim.new) = (Some(from), Some(new));
            }
            Cmd::Store { which, .. } => claim.modified = Some(self.modified(on, which, answer)?),
            _ => {}
        }
        Ok(Verdict::Done(claim))
    }

    fn modified(&self, on: usize, which: &Which, answer: &Answer) -> Result<BTreeSet<u32>, String> {
        let Some(args) = answer.code_args("MODIFIED") else { return Ok(BTreeSet::new()) };
        let told = numbers(args.first().unwrap_or(&""))?;
        if which.by_uid() {
            return Ok(told);
        }
        let Some(mirror) = &self.clients[on].mirror else { return Ok(BTreeSet::new()) };
        let uid = |number: &u32| {
            let entry = mirror.entries.get(*number as usize - 1);
            entry.and_then(|entry| entry.uid).ok_or_else(|| format!("MODIFIED has {number}"))
        };
        told.iter().map(uid).collect()
    }

    /// What a client concludes from the end of its command.
    fn settle(&mut self, on: usize, command: &Prepared, answer: &Answer, verdict: &Verdict) {
        let client = &mut self.clients[on];
        let world = &self.world;
        if client.ended {
            return;
        }
        match &command.cmd {
            Cmd::Close | Cmd::Unselect if answer.ok() => {
                let read_only = client.mirror.as_ref().is_some_and(|mirror| mirror.read_only);
                client.close(command.cmd == Cmd::Close && !read_only);
            }
            Cmd::Delete { .. } if answer.ok() => {
                client.mirror = client.mirror.take().filter(|mirror| world.by_id(mirror.id).is_some());
            }
            Cmd::Store { how, flags, silent: true, .. } => {
                let Verdict::Done(claim) = verdict else { return };
                let told: BTreeSet<u32> = answer.told.iter().map(|told| told.uid).collect();
                let Some(mirror) = &mut client.mirror else { return };
                for entry in &mut mirror.entries {
                    let Some((uid, known)) = entry.uid.zip(entry.flags.as_mut()) else { continue };
                    let modified = claim.modified.as_ref().is_some_and(|modified| modified.contains(&uid));
                    if !command.uids.contains(&uid) || told.contains(&uid) || modified {
                        continue;
                    }
                    *known = FlagSet(match how {
                        How::Add => known.0 | flags.0,
                        How::Remove => known.0 & !flags.0,
                        How::Replace => flags.0,
                    });
                }
            }
            _ => {}
        }
    }

    /// A message has the same flags whenever it has the same MODSEQ.
    fn note_history(&mut self) -> Result<(), String> {
        for (name, folder) in &self.world.folders {
            for (uid, row) in &folder.rows {
                let known = self.history.entry((folder.id, *uid, row.modseq)).or_insert(row.flags);
                if *known != row.flags {
                    return Err(format!("{name}: UID {uid} had {known:?} at the same MODSEQ: {row:?}"));
                }
            }
        }
        Ok(())
    }

    /// What was told of messages must be true now, or, where commands ran at once, at some time between.
    fn check_told(&self, told: &[Told], before: &World, passed: &Passed, alone: bool) -> Result<(), String> {
        for told in told {
            let wrong = |what: &str| Err(format!("{what}: {told:?}"));
            let row = |world: &World| {
                let (_, folder) = world.by_id(told.folder)?;
                folder.rows.get(&told.uid).copied()
            };
            if let Some(modseq) = told.modseq
                && let Some(flags) = self.history.get(&(told.folder, told.uid, modseq))
                && *flags != told.flags
            {
                return wrong("other flags were told at that MODSEQ");
            }
            let now = row(&self.world);
            if alone {
                if now
                    .is_none_or(|row| row.flags != told.flags || told.modseq.is_some_and(|m| m != row.modseq))
                {
                    return wrong(&format!("it is {now:?}"));
                }
                continue;
            }
            let once = row(before).is_some_and(|row| row.flags == told.flags)
                || now.is_some_and(|row| row.flags == told.flags)
                || passed.contains(&(told.folder, told.uid, told.flags))
                || passed.contains(&(0, told.uid, told.flags));
            if !once {
                return wrong("it never was so");
            }
        }
        Ok(())
    }

    /// What was answered to a command that ran alone must be exactly what is.
    async fn check_answer(
        &mut self,
        on: usize,
        command: &Prepared,
        answer: &Answer,
        before: &World,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("{on}: {}: {what}", command.text));
        match &command.cmd {
            Cmd::Noop | Cmd::Select { .. } => {
                self.complete(on).await?;
                let Some(mirror) = &self.clients[on].mirror else { return Ok(()) };
                let Some((_, folder)) = self.world.by_id(mirror.id) else {
                    return wrong("the folder is gone and nobody said so".to_owned());
                };
                if mirror.uid_validity != folder.uid_validity {
                    return wrong("another UIDVALIDITY".to_owned());
                }
                if let Some(difference) = mirror.differs(folder) {
                    return wrong(difference);
                }
                if mirror.modseq > folder.highest {
                    return wrong("a MODSEQ above the folder's".to_owned());
                }
                self.clients[on].note_point();
            }
            Cmd::Changes { vanished, .. } => {
                let client = &self.clients[on];
                let Some(mirror) = &client.mirror else { return Ok(()) };
                let Some((_, folder)) = self.world.by_id(mirror.id) else { return Ok(()) };
                let told: BTreeMap<u32, FlagSet> =
                    answer.told.iter().map(|told| (told.uid, told.flags)).collect();
                let cached = command.point.as_ref().map(|point| point.flags.clone()).unwrap_or_default();
                for uid in mirror.entries.iter().filter_map(|entry| entry.uid) {
                    let believed = told.get(&uid).or_else(|| cached.get(&uid));
                    if believed != folder.rows.get(&uid).map(|row| &row.flags) {
                        return wrong(format!("UID {uid} is taken for {believed:?}"));
                    }
                }
                if *vanished && client.qresync() {
                    let still = |uid: &&u32| !answer.earlier.contains(uid) && !answer.vanished.contains(uid);
                    if let Some(ghost) =
                        cached.keys().filter(still).find(|uid| !folder.rows.contains_key(uid))
                    {
                        return wrong(format!("nobody said that UID {ghost} is gone"));
                    }
                }
            }
            Cmd::Search { uid, key } => {
                let Some(mirror) = &self.clients[on].mirror else { return Ok(()) };
                let Some((_, folder)) = self.world.by_id(mirror.id) else { return Ok(()) };
                let since = match key {
                    Key::ModSeq(back) => before
                        .by_id(mirror.id)
                        .map_or(1, |(_, f)| f.highest.saturating_sub(u64::from(*back)).max(1)),
                    _ => 0,
                };
                let expected = matching(folder, *key, since, &command.before);
                let found: BTreeSet<u32> = answer.search.iter().flatten().copied().collect();
                let found = if *uid {
                    found
                } else {
                    let uid_of = |number: &u32| mirror.entries.get(*number as usize - 1)?.uid;
                    found.iter().filter_map(uid_of).collect()
                };
                if found != expected {
                    return wrong(format!("found UIDs {found:?}, expected {expected:?}"));
                }
            }
            Cmd::Status { folder } => {
                let Some(folder) = self.world.folders.get(FOLDERS[*folder]) else { return Ok(()) };
                let unseen = folder.rows.values().filter(|row| !row.flags.contains(FlagSet::SEEN)).count();
                for (item, value) in &answer.status_items {
                    let expected = match item.as_str() {
                        "MESSAGES" => folder.rows.len() as u64,
                        "UIDNEXT" => folder.uid_next,
                        "UIDVALIDITY" => u64::from(folder.uid_validity),
                        "UNSEEN" => unseen as u64,
                        _ => folder.highest,
                    };
                    if *value != expected {
                        return wrong(format!("{item} is {expected}, not {value}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn matching(folder: &Folder, key: Key, since: u64, known: &BTreeSet<u32>) -> BTreeSet<u32> {
    let matches = |flags: FlagSet, modseq: u64| match key {
        Key::All => true,
        Key::With(flag) => flags.contains(flag),
        Key::Without(flag) => !flags.contains(flag),
        Key::ModSeq(_) => modseq >= since,
    };
    let rows = folder.rows.iter().filter(|(uid, row)| known.contains(uid) && matches(row.flags, row.modseq));
    rows.map(|(uid, _)| *uid).collect()
}

fn search_key(flag: FlagSet, with: bool) -> String {
    let name = flag.names().next().unwrap_or("\\Seen");
    match (name.strip_prefix('\\'), with) {
        (Some(system), true) => system.to_uppercase(),
        (Some(system), false) => format!("UN{}", system.to_uppercase()),
        (None, true) => format!("KEYWORD {name}"),
        (None, false) => format!("UNKEYWORD {name}"),
    }
}

/// The known UIDs and pairs of numbers and UIDs that go with QRESYNC.
fn known_of(resync: &Resync, point: &Point) -> String {
    if !resync.known || point.flags.is_empty() {
        return String::new();
    }
    let uids: Vec<u32> = point.flags.keys().copied().collect();
    let mut text = format!(" {}", set(uids.iter().copied()));
    if resync.matched {
        let mut numbers = BTreeSet::new();
        let mut number = uids.len();
        while number > 0 {
            numbers.insert(number as u32);
            number /= 2;
        }
        let matched = numbers.iter().map(|number| uids[*number as usize - 1]);
        text.push_str(&format!(" ({} {})", set(numbers.iter().copied()), set(matched)));
    }
    text
}

async fn execute(client: &mut Client, command: &Prepared) -> Result<Answer, String> {
    match &command.cmd {
        Cmd::Idle => {
            let mut answer = client.begin_idle().await?;
            "OK".clone_into(&mut answer.status);
            Ok(answer)
        }
        Cmd::Select { examine, .. } => {
            // Removed pictures: what comes until CLOSED is none of the new one's.
            client.mirror = Some(Mirror::new(*examine));
            let answer = client.command(&command.text, command.removals).await?;
            if !answer.ok() {
                client.mirror = None;
            } else if let Some(point) = &command.point {
                resynced(client, command, point, &answer)?;
            }
            Ok(answer)
        }
        _ => client.command(&command.text, command.removals).await,
    }
}

/// Puts together what the client had kept and what SELECT told it.
fn resynced(client: &mut Client, command: &Prepared, point: &Point, answer: &Answer) -> Result<(), String> {
    let number = client.number;
    let Some(mirror) = &mut client.mirror else { return Ok(()) };
    if mirror.uid_validity != point.uid_validity {
        return Ok(());
    }
    let kept = point.flags.keys().filter(|uid| !answer.earlier.contains(uid));
    let uids: BTreeSet<u32> = kept.copied().chain(answer.fetched.iter().copied()).collect();
    let whole = !matches!(command.cmd, Cmd::Select { resync: Some(Resync { known: true, .. }), .. });
    if uids.len() > mirror.entries.len()
        || (whole || point.flags.is_empty()) && uids.len() != mirror.entries.len()
    {
        return Err(format!(
            "{number}: {}: {uids:?} are known, {} exist",
            command.text,
            mirror.entries.len()
        ));
    }
    for (uid, entry) in uids.iter().zip(&mut mirror.entries) {
        if entry.uid.is_some_and(|told| told != *uid) {
            return Err(format!("{number}: {}: UID {uid} is where {entry:?} is told", command.text));
        }
        entry.uid = Some(*uid);
        entry.flags = entry.flags.or_else(|| point.flags.get(uid).copied());
    }
    Ok(())
}

/// Runs a program to its end on a runtime of its own, as threads go.
pub fn check(program: &Program) -> Result<(), String> {
    static RUNTIME: std::sync::OnceLock<Arc<tokio::runtime::Runtime>> = std::sync::OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Arc::new(builder.worker_threads(2).enable_all().build().expect("a runtime"))
    });
    runtime.block_on(run(program))
}
