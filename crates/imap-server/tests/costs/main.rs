//! What each IMAP command asks of the engine: transactions, round trips one after another, keys and octets read and
//! written, counted at the engine's trait. The same on every engine; `expected.tsv` is the table, checked here.
//!
//! A number may differ from the table by a quarter; what doubles fails, and so does what became much better: then run
//! with `MSS_COSTS=write`, look at the difference, and commit it. With `MSS_FDB_CLUSTER_FILE` the same commands run on
//! FoundationDB, where no number may be twice that of the table.
//!
//! What a command leaves to be done after its answer (marks of what is recent, the feed's own reading) is counted with
//! it; the sweeper, which runs when it runs, is not.

mod bench;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use kv::Engine;
use kv::count::{CountingEngine, Counts};
use kv::memory::MemoryEngine;

use bench::{Bench, Client, message};

/// Messages in the folder.
const SIZES: [u32; 2] = [100, 10_000];
/// Changes before a sync, in the large folder; in the small one there is room for fewer.
const CHANGES: u32 = 100;

/// The costs of commands, in the order in which they were given: name, then messages in the folder, then costs.
#[derive(Default)]
struct Table {
    order: Vec<String>,
    costs: BTreeMap<(String, u32), Counts>,
}

impl Table {
    fn add(&mut self, name: &str, size: u32, counts: Counts) {
        if !self.order.iter().any(|known| known == name) {
            self.order.push(name.to_owned());
        }
        self.costs.insert((name.to_owned(), size), counts);
    }

    fn get(&self, name: &str, size: u32) -> Counts {
        self.costs.get(&(name.to_owned(), size)).copied().unwrap_or_else(|| panic!("no row {name} {size}"))
    }

    fn text(&self) -> String {
        let names = Counts::default().named().map(|(name, _)| name).join("\t");
        let mut text = format!("command\tmessages\t{names}\n");
        for name in &self.order {
            for size in SIZES {
                let numbers = self.get(name, size).named().map(|(_, number)| number.to_string()).join("\t");
                let _ = writeln!(text, "{name}\t{size}\t{numbers}");
            }
        }
        text
    }
}

fn expected_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/costs/expected.tsv")
}

fn numbers(line: &str) -> (String, Vec<u64>) {
    let fields: Vec<&str> = line.split('\t').collect();
    let numbers = fields[2..].iter().map(|number| number.parse().expect("a number")).collect();
    (fields[..2].join(" "), numbers)
}

/// Compares with the table that is checked in. `far`: whether a number is too far from what it should be.
fn compare(table: &Table, far: impl Fn(u64, u64) -> bool) {
    let expected = std::fs::read_to_string(expected_path()).expect("tests/costs/expected.tsv");
    let text = table.text();
    println!("{text}");
    let names = Counts::default().named().map(|(name, _)| name);
    let found: BTreeMap<String, Vec<u64>> = text.lines().skip(1).map(numbers).collect();
    let mut wrong = Vec::new();
    let expected: BTreeMap<String, Vec<u64>> = expected.lines().skip(1).map(numbers).collect();
    for (row, should) in &expected {
        let Some(is) = found.get(row) else {
            wrong.push(format!("{row} is no longer measured"));
            continue;
        };
        for ((name, is), should) in names.iter().zip(is).zip(should) {
            if far(*is, *should) {
                wrong.push(format!("{row}: {name} is {is}, was {should}"));
            }
        }
    }
    wrong.extend(found.keys().filter(|row| !expected.contains_key(*row)).map(|row| format!("{row} is new")));
    assert!(wrong.is_empty(), "MSS_COSTS=write takes these for the new table:\n{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn commands_cost_what_the_table_says() {
    let table = measure(MemoryEngine::new()).await;
    if std::env::var("MSS_COSTS").is_ok_and(|mode| mode == "write") {
        std::fs::write(expected_path(), table.text()).expect("written");
    }
    // A quarter either way, and exactly what is small.
    compare(&table, |is, should| is.abs_diff(should) * 4 > should);
    promises(&table);
}

/// What the data model was made for, whatever the table says.
fn promises(table: &Table) {
    const LARGE: u32 = 10_000;
    let cold = table.get("SELECT, nothing cached", LARGE);
    assert!(cold.ranges <= 4 && cold.round_trips <= 8, "a folder opens with a few range reads: {cold:?}");
    let hot = table.get("SELECT", LARGE);
    assert!(hot.keys_read <= 3 && hot.bytes_read < 1_000, "an unchanged folder is not read again: {hot:?}");
    let sync = table.get("SELECT (QRESYNC) after 100 changes elsewhere", LARGE);
    // Each change in the log, for rows and again for removals, and the block of 128 rows that each stands in.
    let most = u64::from(3 * CHANGES + 4);
    assert!((1..=most).contains(&sync.keys_read), "a sync reads a few keys a change: {sync:?}");
    let status = table.get("STATUS", LARGE);
    assert!(
        status.keys_read <= 2,
        "STATUS reads the folder's one key, and which folders there are: {status:?}"
    );
    let changes = table.get("XCPMCHANGES, nothing new", LARGE);
    assert!(
        changes.keys_read <= 2,
        "one key says that nothing changed, one of the selected folder: {changes:?}"
    );
    let noop = table.get("NOOP, nothing new", LARGE);
    assert!(noop.keys_read <= 1, "{noop:?}");
    let (one, many) = (
        table.get("STORE ANNOTATION, one message", LARGE),
        table.get("STORE ANNOTATION, 30 messages", LARGE),
    );
    assert_eq!(one.transactions, many.transactions, "a STORE ANNOTATION is one: {one:?} {many:?}");
    for name in ["FETCH 1:* (ANNOTATION), there are none", "FETCH 1:* (ANNOTATION), of 31 messages"] {
        let read = table.get(name, LARGE);
        assert!(
            read.ranges <= 2 && read.round_trips <= 4,
            "annotations are read by the page: {name} {read:?}"
        );
    }
    for name in ["APPEND 2 kB", "STORE +FLAGS, one message", "UID FETCH BODY.PEEK[], not cached"] {
        let (small, large) = (table.get(name, SIZES[0]), table.get(name, LARGE));
        assert!(small.round_trips == large.round_trips, "{name} costs the same in every folder");
        assert!(large.bytes_written <= 3 * small.bytes_written + 4_000, "{name}: {small:?} {large:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_cost_the_same_on_foundationdb() {
    let Some(cluster_file) = std::env::var_os("MSS_FDB_CLUSTER_FILE") else {
        println!("not run: MSS_FDB_CLUSTER_FILE names no cluster");
        return;
    };
    let options = kv_fdb::Options {
        cluster_file: Some(cluster_file.into()),
        prefix: format!("costs/{:016x}/", rand::random::<u64>()).into_bytes(),
        ..kv_fdb::Options::default()
    };
    let engine = kv_fdb::FdbEngine::open(options).await.expect("FoundationDB");
    let table = measure(engine.clone()).await;
    engine.close();
    // Watches may fire for nothing, and a commit may conflict for nothing.
    compare(&table, |is, should| is > 2 * should + 4);
    promises(&table);
}

/// How long a stranger waits for an answer says no more than the answer: for a mailbox that is hidden the engine is asked
/// as often, one question after another, as for one of nobody, at first and when caches are warm.
#[tokio::test]
async fn what_is_hidden_costs_what_is_absent() {
    let counting = CountingEngine::new(MemoryEngine::new());
    let (owner, stranger, nobody) = ("tel:+15550000001", "tel:+15550000002", "tel:+15550000003");
    let mut filled = Bench::new(counting.clone()).await;
    for user in [owner, stranger] {
        filled.fill(user, 10).await;
    }
    for command in
        ["STATUS {} (MESSAGES)", "SELECT {}", "MYRIGHTS {}", "LIST \"\" {}", "COPY 1 {}", "DELETE {}"]
    {
        let mut costs = Vec::new();
        for name in [owner, nobody].map(|address| format!("Other/{address}/INBOX")) {
            let bench = Bench::new(counting.clone()).await;
            let mut client = bench.login_as(stranger).await;
            let command = command.replace("{}", &name);
            let mut each = Vec::new();
            for _ in 0..3 {
                client.ok("SELECT INBOX").await;
                bench.quiet().await;
                counting.take();
                let (_, status) = client.run(&command).await;
                assert!(
                    status.starts_with(if command.starts_with("LIST") { "OK" } else { "NO [NONEX" }),
                    "{status}"
                );
                let counts = counting.take();
                each.push((counts.transactions, counts.round_trips, counts.commits));
            }
            costs.push(each);
        }
        assert_eq!(costs[0], costs[1], "{command}: (transactions, round trips, commits) thrice");
    }
}

async fn measure(engine: Arc<dyn Engine>) -> Table {
    let counting = CountingEngine::new(engine);
    let mut table = Table::default();
    for size in SIZES {
        let user = format!("+1555000{size:05}");
        let mut bench = Bench::new(counting.clone()).await;
        bench.fill(&user, size).await;
        commands(&mut table, &counting, &user, size).await;
    }
    table
}

/// Gives every command once, in a folder of `size` messages, and notes what it cost.
async fn commands(table: &mut Table, counting: &Arc<CountingEngine>, user: &str, size: u32) {
    macro_rules! cost {
        ($bench:expr, $name:expr, $work:expr) => {{
            $bench.quiet().await;
            counting.take();
            let value = $work;
            $bench.quiet().await;
            table.add($name, size, counting.take());
            value
        }};
    }

    // A node that has nothing in its caches, then one that has.
    let bench = Bench::new(counting.clone()).await;
    let mut client = bench.connect().await;
    cost!(bench, "LOGIN, nothing cached", client.ok(&format!("LOGIN {user} {}", bench::PASSWORD)).await);
    client.ok("ENABLE QRESYNC").await;
    cost!(bench, "STATUS, nothing cached", client.ok("STATUS INBOX (MESSAGES UIDNEXT HIGHESTMODSEQ)").await);
    cost!(bench, "SELECT, nothing cached", client.ok("SELECT INBOX").await);
    let mut second = bench.connect().await;
    cost!(bench, "LOGIN", second.ok(&format!("LOGIN {user} {}", bench::PASSWORD)).await);
    cost!(bench, "STATUS", second.ok("STATUS INBOX (MESSAGES UIDNEXT HIGHESTMODSEQ)").await);
    cost!(bench, "LIST \"\" *", second.ok("LIST \"\" *").await);
    cost!(bench, "SELECT", second.ok("SELECT INBOX").await);
    cost!(bench, "NOOP, nothing new", second.ok("NOOP").await);

    cost!(bench, "FETCH 1:* (FLAGS)", client.ok("FETCH 1:* (FLAGS)").await);
    cost!(
        bench,
        "UID FETCH ENVELOPE BODYSTRUCTURE, not cached",
        client.ok("UID FETCH 7 (ENVELOPE BODYSTRUCTURE)").await
    );
    cost!(bench, "UID FETCH ENVELOPE BODYSTRUCTURE", client.ok("UID FETCH 7 (ENVELOPE BODYSTRUCTURE)").await);
    cost!(bench, "UID FETCH BODY.PEEK[], not cached", client.ok("UID FETCH 9 (BODY.PEEK[])").await);
    let bodies = counting.noted();
    cost!(bench, "UID FETCH BODY.PEEK[]", client.ok("UID FETCH 9 (BODY.PEEK[])").await);
    assert_eq!(counting.noted(), bodies, "a cached body is not read from the engine");
    assert!(bodies.iter().sum::<u64>() > 0, "one that is not, is");

    cost!(bench, "SEARCH by an indexed header", client.ok("SEARCH HEADER IMDN-Message-ID m00000005").await);
    let everywhere = "ESEARCH IN (personal) HEADER IMDN-Message-ID m00000005";
    cost!(
        bench,
        "ESEARCH by an indexed header, of three folders with two empty",
        client.ok(everywhere).await
    );
    cost!(bench, "SEARCH FLAGGED", client.ok("SEARCH FLAGGED").await);
    cost!(bench, "SEARCH SUBJECT", client.ok("SEARCH SUBJECT noon").await);
    cost!(bench, "SEARCH TEXT", client.ok("SEARCH TEXT midnight").await);

    cost!(bench, "APPEND 2 kB", client.append("Default", &[message(900_001)]).await);
    let ten: Vec<String> = (0..10).map(|n| message(900_100 + n)).collect();
    cost!(bench, "APPEND of ten, 2 kB each", client.append("Default", &ten).await);
    cost!(bench, "APPEND 2 kB, to the selected folder", client.append("INBOX", &[message(900_002)]).await);
    cost!(bench, "STORE +FLAGS, one message", client.ok("UID STORE 20 +FLAGS (\\Seen)").await);
    cost!(bench, "STORE +FLAGS.SILENT, all", client.ok("STORE 1:* +FLAGS.SILENT (\\Answered)").await);
    cost!(bench, "COPY, one message", client.ok("UID COPY 20 Default").await);
    cost!(bench, "COPY, 50 messages", client.ok("UID COPY 1:50 Default").await);
    cost!(bench, "MOVE, one message", client.ok("UID MOVE 21 Default").await);
    cost!(bench, "MOVE, 20 messages", client.ok("UID MOVE 22:41 Default").await);
    client.ok("UID STORE 42:60 +FLAGS (\\Deleted)").await;
    cost!(bench, "UID EXPUNGE, one message", client.ok("UID EXPUNGE 42").await);
    cost!(bench, "EXPUNGE, 18 messages", client.ok("EXPUNGE").await);
    let (_, status) = client.run("XCPMCHANGES").await;
    let since = format!("XCPMCHANGES \"{}\"", status.split('"').nth(1).expect("a token"));
    cost!(bench, "XCPMCHANGES, nothing new", client.ok(&since).await);
    client.append("Default", &[message(900_004)]).await;
    let told = cost!(bench, "XCPMCHANGES, one folder changed", client.ok(&since).await);
    assert_eq!(told.iter().filter(|line| line.starts_with("* STATUS ")).count(), 1, "{told:?}");
    cost!(bench, "CREATE", client.ok("CREATE Holiday").await);
    cost!(bench, "RENAME", client.ok("RENAME Holiday Summer").await);
    cost!(bench, "DELETE", client.ok("DELETE Summer").await);

    idle(table, counting, &bench, &mut client, size).await;
    resync(table, counting, user, size).await;
    annotations(table, counting, user, size).await;
    many_folders(table, counting, user, size).await;
}

/// What a search of many folders costs, each with a message.
async fn many_folders(table: &mut Table, counting: &Arc<CountingEngine>, user: &str, size: u32) {
    let bench = Bench::new(counting.clone()).await;
    let mut client = bench.login_as(user).await;
    for n in 0..200 {
        client.ok(&format!("CREATE Many/{n:03}")).await;
        client.append(&format!("Many/{n:03}"), &[message(910_000 + n)]).await;
    }
    for (name, key, found) in [
        ("ESEARCH of 200 folders, by rows", "UNSEEN", 200),
        ("ESEARCH of 200 folders, by an indexed header, not cached", "HEADER IMDN-Message-ID m00910077", 1),
        ("ESEARCH of 200 folders, by an indexed header", "HEADER IMDN-Message-ID m00910077", 1),
    ] {
        bench.quiet().await;
        counting.take();
        let lines = client.ok(&format!("ESEARCH IN (subtree Many) RETURN (COUNT) {key}")).await;
        bench.quiet().await;
        table.add(name, size, counting.take());
        let results = lines.iter().filter(|line| line.starts_with("* ESEARCH "));
        assert_eq!(results.count(), found, "{key}: {lines:?}");
    }
}

async fn annotations(table: &mut Table, counting: &Arc<CountingEngine>, user: &str, size: u32) {
    let bench = Bench::new(counting.clone()).await;
    let mut client = bench.login_as(user).await;
    client.ok("SELECT INBOX").await;
    for (name, command) in [
        ("FETCH 1:* (ANNOTATION), there are none", "FETCH 1:* (ANNOTATION (* value))"),
        ("STORE ANNOTATION, one message", "STORE 41 ANNOTATION (/comment (value.shared \"x\"))"),
        ("STORE ANNOTATION, 30 messages", "STORE 1:30 ANNOTATION (/comment (value.shared \"x\"))"),
        ("FETCH 1:* (ANNOTATION), of 31 messages", "FETCH 1:* (ANNOTATION (* value))"),
        ("SEARCH ANNOTATION", "SEARCH ANNOTATION /comment value \"x\""),
    ] {
        bench.quiet().await;
        counting.take();
        client.ok(command).await;
        bench.quiet().await;
        table.add(name, size, counting.take());
    }
}

/// What an APPEND costs while another session of the account waits in IDLE on another node, from the one's command to
/// the other's EXISTS.
async fn idle(table: &mut Table, counting: &CountingEngine, bench: &Bench, client: &mut Client, size: u32) {
    let mut waiting = bench.login_as(&client.user).await;
    waiting.ok("SELECT INBOX").await;
    waiting.begin("IDLE").await;
    bench.quiet().await;
    counting.take();
    client.append("INBOX", &[message(900_003)]).await;
    waiting.until("EXISTS").await;
    bench.quiet().await;
    table.add("APPEND 2 kB, with a session in IDLE", size, counting.take());
}

/// What a phone's sync costs after 100 changes that its front end's node has not seen: it has the folder as it was.
async fn resync(table: &mut Table, counting: &Arc<CountingEngine>, user: &str, size: u32) {
    let (here, elsewhere) = (Bench::new(counting.clone()).await, Bench::new(counting.clone()).await);
    let mut client = here.login_as(user).await;
    client.ok("ENABLE QRESYNC").await;
    let point = client.ok("SELECT INBOX").await;
    let told = |code: &str| {
        let line = point.iter().find_map(|line| line.split_once(&format!("[{code} ")));
        line.and_then(|(_, rest)| rest.split_once(']')).expect("a response code").0.to_owned()
    };
    let (uid_validity, modseq) = (told("UIDVALIDITY"), told("HIGHESTMODSEQ"));
    client.ok("UNSELECT").await;
    let mut other = elsewhere.login_as(user).await;
    other.ok("SELECT INBOX").await;
    // All over the folder, one at a time; a few of the messages go.
    let (changes, span) = if size > 1_000 { (CHANGES, (size - 65) / CHANGES) } else { (30, 1) };
    for change in 0..changes {
        let flag = if change % 10 == 0 { "\\Deleted" } else { "\\Flagged" };
        other.ok(&format!("UID STORE {} +FLAGS.SILENT ({flag})", 65 + change * span)).await;
    }
    other.ok("EXPUNGE").await;
    here.quiet().await;
    counting.take();
    let select = format!("SELECT INBOX (QRESYNC ({uid_validity} {modseq}))");
    let answer = client.ok(&select).await;
    here.quiet().await;
    table.add("SELECT (QRESYNC) after 100 changes elsewhere", size, counting.take());
    let fetched = answer.iter().filter(|line| line.contains(" FETCH (")).count();
    assert_eq!(fetched, (changes - changes / 10) as usize, "all changes were told");
}
