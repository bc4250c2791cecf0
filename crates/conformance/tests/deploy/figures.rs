//! Every metric and label that a dashboard, an alert or an autoscaler asks for is exported by a server that did a little
//! work.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use conformance::client::{Client, patience};
use conformance::server::{Layout, Options, Server, run};
use serde_json::Value;

use crate::files::{at, items, list, text, yaml};

/// Labels that Prometheus itself puts on what it scrapes.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

/// What is exported: the labels of each metric, and the values of each label.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn scrape(address: SocketAddr, exported: &mut Exported) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(patience())).expect("a bound");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: mss\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for line in body.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.rsplit_once(' ').expect("a value").0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = exported.entry(name.to_owned()).or_default();
        for (label, value) in matchers(labels.trim_end_matches('}')) {
            metric.entry(label).or_default().insert(value);
        }
    }
}

/// `a="x",b=~"y"` as (label, value), whatever the operator; values have no escapes here.
fn matchers(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((label, after)) = rest.split_once('"') {
        let label =
            label.trim_matches(|c: char| c == ',' || c == '=' || c == '~' || c == '!' || c.is_whitespace());
        let (value, after) = after.split_once('"').expect("a closing quote");
        found.push((label.to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

/// A little of everything.
fn work(server: &Server) {
    let user = server.fresh_user();
    let login = || Client::login(server.imap, &user.name, &user.password).expect("a login");
    let mut client = login();
    client.expect_ok("LIST \"\" *").expect("listed");
    client.expect_ok("SELECT INBOX").expect("selected");
    let mut idle = login();
    idle.expect_ok("SELECT INBOX").expect("selected");
    idle.send(b"i IDLE\r\n").expect("sent");
    idle.response().expect("go ahead");
    client.literal("APPEND INBOX", b"Subject: x\r\n\r\nx\r\n", "").expect("stored");
    let news = idle.response().expect("told");
    assert_eq!(news.kind(), "EXISTS");
    idle.send(b"DONE\r\n").expect("sent");
    idle.until("i").expect("the end of IDLE");
    for command in [
        "FETCH 1 (FLAGS BODY[])",
        "FETCH 1 (BODY[])",
        "UID STORE 1:* +FLAGS (\\Deleted)",
        "STATUS INBOX (MESSAGES)",
        "EXPUNGE",
    ] {
        client.expect_ok(command).expect(command);
    }
    assert!(client.command("SELECT nowhere").is_ok());
    assert!(Client::login(server.imap, &user.name, "wrong").is_err());
    // Over the socket for tools.
    let data = server.data().expect("ours").display().to_string();
    run(&["account", "show", &user.name, "--data", &data], b"").expect("shown");
}

fn exported() -> Exported {
    let mut exported = Exported::new();
    for layout in [Layout::Together, Layout::Apart { fronts: 1 }] {
        // Nobody listens there; the figures of notices are exported all the same.
        // What is optional is on; nothing listens there.
        let settings = [
            ("MSS_PUSH__URL", "http://127.0.0.1:9/"),
            ("MSS_AUTH__OAUTH__JWKS", "http://127.0.0.1:9/"),
            ("MSS_AUTH__OAUTH__ISSUER", "http://127.0.0.1:9/"),
            ("MSS_AUTH__OAUTH__AUDIENCES", "mss"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let server = Server::start(&Options { layout, settings, accounts: 2, ..Options::default() });
        let server = server.expect("a server");
        work(&server);
        for process in server.fronts.iter().chain(&server.stores) {
            scrape(process.address("admin").expect("an admin port"), &mut exported);
        }
    }
    exported
}

/// Checks every selector of our metrics in one expression, and the labels that it groups by.
fn check(place: &str, expression: &str, exported: &Exported, wrong: &mut Vec<String>) {
    let mut labels: BTreeSet<&str> = TARGET_LABELS.into_iter().chain(["le"]).collect();
    let mut selectors = 0;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let word = &rest[start..start + rest[start..].find(|c| !is_name(c)).unwrap_or(rest.len() - start)];
        rest = &rest[start + word.len()..];
        if !(word.starts_with("mss_") || word.starts_with("process_")) {
            continue;
        }
        selectors += 1;
        let Some(metric) = exported.get(word) else {
            wrong.push(format!("{place}: {word} is not exported"));
            continue;
        };
        labels.extend(metric.keys().map(String::as_str));
        let Some(inside) =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inside, _)| inside)
        else {
            continue;
        };
        for (label, value) in matchers(inside) {
            if TARGET_LABELS.contains(&label.as_str()) {
                continue;
            }
            let known = metric.get(&label);
            for one in value.split('|') {
                if !known.is_some_and(|known| known.contains(one)) {
                    wrong.push(format!("{place}: {word} has no {label}=\"{one}\""));
                }
            }
        }
    }
    if selectors == 0 && !expression.contains("up{") && !expression.contains("absent(up") {
        wrong.push(format!("{place}: asks for none of our metrics: {expression}"));
    }
    for group in expression.split(" by (").skip(1).chain(expression.split(" on(").skip(1)) {
        for label in group.split(')').next().unwrap_or_default().split(',').map(str::trim) {
            if !labels.contains(label) {
                wrong.push(format!("{place}: no metric of {expression} has the label {label}"));
            }
        }
    }
}

#[test]
fn every_query_asks_for_what_is_exported() {
    let exported = exported();
    let mut wrong = Vec::new();
    let dashboards = list("grafana", ".json");
    assert_eq!(dashboards.len(), 3, "the cluster, and a dashboard a role");
    for file in dashboards {
        let board: Value = serde_json::from_str(&text(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(items(&board, "/panels").len() >= 10, "{file}");
        for panel in items(&board, "/panels") {
            let place = format!("{file}, {:?}", at(panel, "/title"));
            assert!(!at(panel, "/description").is_empty(), "{place} says not what it shows");
            for target in items(panel, "/targets") {
                check(&place, at(target, "/expr"), &exported, &mut wrong);
            }
        }
        for variable in items(&board, "/templating/list").iter().filter(|v| at(v, "/type") == "query") {
            check(&file, at(variable, "/query/query"), &exported, &mut wrong);
        }
    }
    for group in items(&yaml("prometheus/mss.rules.yml").remove(0), "/groups") {
        for rule in items(group, "/rules") {
            check(at(rule, "/alert"), at(rule, "/expr"), &exported, &mut wrong);
        }
    }
    for document in yaml("kubernetes/base/imap.yaml") {
        for metric in items(&document, "/spec/metrics") {
            check("the autoscaler", at(metric, "/pods/metric/name"), &exported, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}\nexported: {:?}", wrong.join("\n"), exported.keys());
}

/// Gauges tell what is, not what was a minute ago; labels come from fixed sets.
#[test]
fn figures_are_fresh_and_few() {
    let server = Server::start(&Options { accounts: 2, ..Options::default() }).expect("a server");
    let admin = server.fronts[0].address("admin").expect("an admin port");
    work(&server);
    let mut before = Exported::new();
    scrape(admin, &mut before);
    for gauge in
        ["mss_store_cache_bytes", "mss_store_accounts_changing", "mss_feed_listeners", "mss_imap_sessions"]
    {
        assert!(before.contains_key(gauge), "{gauge} is there at the first scrape");
    }
    let series =
        |exported: &Exported| exported.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum::<usize>();
    let user = server.fresh_user();
    let mut client = Client::login(server.imap, &user.name, &user.password).expect("a login");
    for number in 0..30 {
        client.expect_ok(&format!("CREATE folder{number}")).expect("made");
        assert!(client.command(&format!("NONSENSE{number}")).is_ok());
    }
    let mut after = Exported::new();
    scrape(admin, &mut after);
    let (before, after) = (series(&before), series(&after));
    assert!(after < before + 30, "{before} values of labels became {after}: names of clients are among them");
}
