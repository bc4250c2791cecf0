//! From subscribers to nodes, disks and network: a model of few lines over `deploy/sizing.toml` and the table of costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;

use crate::metadata::root;

/// Inputs by name.
type Inputs = BTreeMap<String, f64>;

/// What one command asks of the engine.
#[derive(Clone, Copy, Default)]
struct Cost {
    keys_read: f64,
    bytes_read: f64,
    keys_written: f64,
    bytes_written: f64,
}

/// Prints the table, for one number of subscribers or for 1, 10 and 100 million.
///
/// # Errors
/// When an argument or a file cannot be understood.
pub fn print(arguments: &[String]) -> anyhow::Result<()> {
    let (mut inputs, costs) = (inputs()?, costs()?);
    let mut subscribers = vec![1e6, 1e7, 1e8];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--subscribers" {
            let number = rest.next().context("--subscribers wants a number")?;
            subscribers =
                vec![number.parse().with_context(|| format!("--subscribers: {number:?} is no number"))?];
        } else {
            let (name, value) = argument.split_once('=').context("wants --subscribers N and NAME=VALUE")?;
            let known = inputs.keys().cloned().collect::<Vec<_>>().join(", ");
            let input =
                inputs.get_mut(name).with_context(|| format!("no input {name:?}; there are {known}"))?;
            *input = value.parse().with_context(|| format!("{name}: {value:?} is no number"))?;
        }
    }
    print!("{}", table(&subscribers, &inputs, &costs)?);
    Ok(())
}

fn inputs() -> anyhow::Result<Inputs> {
    let text = std::fs::read_to_string(root().join("deploy/sizing.toml"))?;
    let sections: BTreeMap<String, BTreeMap<String, toml::Value>> = toml::from_str(&text)?;
    let mut inputs = Inputs::new();
    for (name, value) in sections.into_values().flatten() {
        let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
        inputs.insert(name.clone(), number.with_context(|| format!("sizing.toml: {name} is no number"))?);
    }
    Ok(inputs)
}

/// The costs of commands on a folder of 10 000 messages.
fn costs() -> anyhow::Result<BTreeMap<String, Cost>> {
    let text = std::fs::read_to_string(root().join("crates/imap-server/tests/costs/expected.tsv"))?;
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().context("expected.tsv is empty")?;
    let column = |name: &str| {
        head.iter()
            .position(|known| *known == name)
            .with_context(|| format!("expected.tsv has no column {name}"))
    };
    let places =
        [column("keys_read")?, column("bytes_read")?, column("keys_written")?, column("bytes_written")?];
    let mut costs = BTreeMap::new();
    for line in lines.filter(|line| line.get(1) == Some(&"10000")) {
        let mut numbers = [0.0; 4];
        for (number, place) in numbers.iter_mut().zip(places) {
            *number = line.get(place).context("a short line")?.parse()?;
        }
        let [keys_read, bytes_read, keys_written, bytes_written] = numbers;
        costs.insert(line[0].to_owned(), Cost { keys_read, bytes_read, keys_written, bytes_written });
    }
    Ok(costs)
}

/// Rows of results, a column for each number of subscribers.
fn table(subscribers: &[f64], inputs: &Inputs, costs: &BTreeMap<String, Cost>) -> anyhow::Result<String> {
    let columns: Vec<Vec<(&str, String)>> =
        subscribers.iter().map(|n| size(*n, inputs, costs)).collect::<anyhow::Result<_>>()?;
    let mut text = "| at the peak |".to_owned();
    for n in subscribers {
        write!(text, " {} |", number(*n))?;
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(subscribers.len()));
    text.push('\n');
    for (row, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        write!(text, "| {name} |")?;
        for column in &columns {
            write!(text, " {} |", column[row].1)?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn size(
    subscribers: f64,
    inputs: &Inputs,
    costs: &BTreeMap<String, Cost>,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let input = |name: &str| inputs.get(name).copied().with_context(|| format!("sizing.toml has no {name}"));
    let cost = |name: &str| costs.get(name).copied().with_context(|| format!("expected.tsv has no {name}"));
    let a_second =
        |a_day: f64| Ok::<_, anyhow::Error>(subscribers * a_day / 86_400.0 * input("peak_factor")?);

    let deposits = a_second(input("deposits_a_day")?)?;
    let fetches = deposits * input("devices")?;
    let cached = input("cached_fetch_share")?;
    let flags = deposits * input("flag_changes_a_deposit")?;
    let removals = deposits * input("removals_a_deposit")?;
    let logins = a_second(input("logins_a_day")? * input("devices")?)?;
    let sessions = subscribers * input("devices")? * input("online_share")?;

    // A message larger than those of the table is as many octets more, read or written.
    let larger = (input("message_bytes")? - 2_000.0).max(0.0);
    let work = [
        (deposits, cost("APPEND 2 kB, with a session in IDLE")?, 0.0, larger),
        (fetches * cached, cost("UID FETCH BODY.PEEK[]")?, 0.0, 0.0),
        (fetches * (1.0 - cached), cost("UID FETCH BODY.PEEK[], not cached")?, larger, 0.0),
        (flags, cost("STORE +FLAGS, one message")?, 0.0, 0.0),
        (removals, cost("UID EXPUNGE, one message")?, 0.0, 0.0),
        (logins, cost("LOGIN, nothing cached")?, 0.0, 0.0),
        (logins, cost("SELECT (QRESYNC) after 100 changes elsewhere")?, 0.0, 0.0),
    ];
    let sum = |of: &dyn Fn(&Cost, f64, f64) -> f64| -> f64 {
        work.iter().map(|(rate, cost, read, written)| rate * of(cost, *read, *written)).sum()
    };
    let keys_read = sum(&|cost, _, _| cost.keys_read);
    let keys_written = sum(&|cost, _, _| cost.keys_written);
    let bytes_read = sum(&|cost, read, _| cost.bytes_read + read);
    let bytes_written = sum(&|cost, _, written| cost.bytes_written + written);

    let micros = deposits * input("deposit_us")?
        + fetches * input("fetch_us")?
        + flags * input("flag_us")?
        + removals * input("removal_us")?
        + logins * (input("login_us")? + input("sync_us")?);
    // Each asks the storage tier at least once; a login asks for the account, then for the folder.
    let calls = deposits + fetches + flags + removals + 2.0 * logins;
    let cores = (micros + calls * input("hop_us")?) / 1e6;
    let (busy, spare) = (input("busy_share")?, 1.0 - input("nodes_lost")?);
    let nodes = |cores: f64| Ok::<_, anyhow::Error>(cores / busy / input("cores_a_node")?);
    let front_cores = cores * input("front_end_share")?;
    let fronts = nodes(front_cores)?.max(sessions / input("sessions_a_front_end")?) / spare;
    let stores = nodes(cores - front_cores)? / spare;

    let replicas = input("fdb_replicas")?;
    let kept = subscribers
        * input("deposits_a_day")?
        * (1.0 - input("removals_a_deposit")?)
        * input("days_kept")?
        * (input("message_bytes")? + input("message_overhead_bytes")?);
    let changes = 1.0 + input("flag_changes_a_deposit")? + input("removals_a_deposit")?;
    let feed =
        subscribers * input("deposits_a_day")? * changes * input("feed_days")? * input("feed_change_bytes")?;
    let disk = (kept + feed) * replicas * input("fdb_disk_factor")?;
    let by_reads = keys_read / input("fdb_reads_a_process")? / busy;
    let by_writes = keys_written * replicas / input("fdb_writes_a_process")? / busy;
    let by_disk = disk / input("disk_bytes_a_process")?;
    let to_clients = fetches * input("message_bytes")?;
    let from_clients = deposits * input("message_bytes")?;
    // Each octet written goes to the logs and from there to the storage processes of each replica.
    let inside = to_clients + from_clients + bytes_read + bytes_written * (1.0 + 2.0 * replicas);
    let whole = |n: f64| number(n.ceil().max(1.0));
    Ok(vec![
        ("deposits a second", whole(deposits)),
        ("bodies fetched a second", whole(fetches)),
        ("flag changes and removals a second", whole(flags + removals)),
        ("logins and syncs a second", whole(logins)),
        ("connections in IDLE", whole(sessions)),
        ("processor cores in use, front ends and storage nodes", whole(cores)),
        ("**front ends**", number(fronts.ceil().max(2.0))),
        (
            "memory of their sessions, each, GB",
            format!("{:.1}", sessions * input("session_bytes")? / fronts.ceil().max(2.0) / 1e9),
        ),
        ("**storage nodes**", number(stores.ceil().max(2.0))),
        ("keys read a second", whole(keys_read)),
        ("keys written a second, each replica", whole(keys_written)),
        (
            "FoundationDB processes by reads / writes / disk",
            format!("{} / {} / {}", whole(by_reads), whole(by_writes), whole(by_disk)),
        ),
        ("**FoundationDB storage processes**", number(by_reads.max(by_writes).max(by_disk).ceil().max(3.0))),
        ("**disk**, all replicas, TB", number((disk / 1e12).ceil())),
        ("network to and from clients, Gbit/s", format!("{:.2}", (to_clients + from_clients) * 8.0 / 1e9)),
        ("network inside, Gbit/s", format!("{:.2}", inside * 8.0 / 1e9)),
    ])
}

/// With thin groups of three digits.
fn number(n: f64) -> String {
    let digits = format!("{n:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the page are those of the table; its numbers may be a tenth off, as costs of commands are.
    #[test]
    fn the_page_has_the_table() {
        let page = std::fs::read_to_string(root().join("deploy/SIZING.md")).expect("the page");
        let table =
            table(&[1e6, 1e7, 1e8], &inputs().expect("inputs"), &costs().expect("costs")).expect("a table");
        let start = page.find("| at the peak |").expect("a table");
        let cells = |line: &str| -> Vec<Result<f64, String>> {
            let cells = line.split(['|', '/']).map(|cell| cell.trim().to_owned());
            cells.map(|cell| cell.replace(' ', "").parse().map_err(|_| cell)).collect()
        };
        for (shown, reckoned) in page[start..].lines().zip(table.lines()) {
            let (one, other) = (cells(shown), cells(reckoned));
            let same = one.len() == other.len()
                && one.iter().zip(&other).all(|pair| match pair {
                    (Ok(shown), Ok(reckoned)) => (shown - reckoned).abs() <= reckoned.abs() / 10.0,
                    (shown, reckoned) => shown == reckoned,
                });
            assert!(same, "put the output of `cargo xtask size` into deploy/SIZING.md:\n{shown}\n{reckoned}");
        }
    }

    #[test]
    fn more_of_anything_is_not_less() {
        let (base, costs) = (inputs().expect("inputs"), costs().expect("costs"));
        let disk = |inputs: &Inputs| {
            let rows = size(1e7, inputs, &costs).expect("rows");
            rows.iter()
                .find(|(name, _)| name.contains("disk**"))
                .map(|(_, n)| n.replace(' ', ""))
                .expect("a row")
        };
        let twice = ["days_kept", "feed_days"].map(|name| (name.to_owned(), base[name] * 2.0));
        let doubled: Inputs = base.clone().into_iter().chain(twice).collect();
        let [one, two] = [&base, &doubled].map(|inputs| disk(inputs).parse::<f64>().expect("a number"));
        assert!((two / one - 2.0).abs() < 0.01, "{one} {two}");
    }
}
