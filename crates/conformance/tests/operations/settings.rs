//! Every setting does something, or is refused in one sentence that names it.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conformance::client::{Client, patience};
use conformance::server::{binary, run};

use crate::node::{ADDRESS, Node, PASSWORD};

/// Settings whose effect other tests show, and which.
const SHOWN_ELSEWHERE: &[(&str, &str)] = &[
    ("tls.certificate", "tls.rs"),
    ("tls.key", "tls.rs"),
    ("tls.client_ca", "doors.rs"),
    ("imap.proxy_listen", "doors.rs"),
    ("imap.proxy_sources", "doors.rs"),
    ("reload.seconds", "doors.rs"),
    ("network_functions.file", "network_functions.rs"),
    ("registration.provider", "registration"),
    ("registration.wait_seconds_max", "registration"),
    ("registration.sip_proxy", "registration"),
    ("registration.sip_transport", "registration"),
    ("registration.sip_listen", "registration"),
    ("registration.sip_uri", "registration"),
    ("imap.psk_listen", "psk.rs"),
    ("auth.psk.file", "psk.rs"),
    ("auth.psk.hint", "psk.rs"),
    ("auth.psk.bsf", "gba.rs"),
    ("auth.psk.bsf_ca_file", "gba.rs"),
    ("auth.psk.naf", "gba.rs"),
    ("auth.psk.gsid", "gba.rs"),
    ("auth.oauth.jwks", "oauth.rs"),
    ("auth.oauth.issuer", "oauth.rs"),
    ("auth.oauth.audiences", "oauth.rs"),
    ("auth.oauth.algorithms", "oauth.rs"),
    ("auth.oauth.address_claim", "oauth.rs"),
    ("auth.oauth.scope", "oauth.rs"),
    ("auth.oauth.configuration_url", "oauth.rs"),
    ("auth.oauth.leeway_seconds", "vouch: each_claim"),
    ("auth.oauth.refresh_seconds", "oauth.rs: keys_change_while_clients_are_served"),
    ("auth.oauth.ca_file", "oauth.rs"),
    ("quota.messages", "quotas_take_effect"),
    ("service.folders", "classes_of_service_take_effect"),
    ("service.delete", "classes_of_service_take_effect"),
    ("retention.feed_days", "mss: node.rs: changes_are_kept_as_long_as_asked"),
    ("cluster.node_name", "roles.rs and the tests of crates/cluster"),
    ("front.store", "every test of roles apart"),
    ("rpc_tls.certificate", "roles apart over TLS"),
    ("rpc_tls.key", "roles apart over TLS"),
    ("rpc_tls.client_ca", "roles apart over TLS"),
    ("rpc_tls.allow_clear", "roles apart in clear"),
    ("fdb.library", "an_engine_that_is_not_there_is_told"),
    ("fdb.cluster_file", "an_engine_that_is_not_there_is_told"),
    ("fdb.transaction_seconds_max", "kv-fdb: its tests against a cluster"),
    ("push.url", "push: every test"),
    ("push.retry_seconds_max", "push: every test"),
    ("push.encoder", "push: event_reports_and_pap_go_over_the_wire"),
    ("push.basic_file", "push: event_reports_and_pap_go_over_the_wire"),
    ("push.bearer_file", "push: event_reports_and_pap_go_over_the_wire"),
    ("push.ca_file", "push: who_the_enabler_is_must_be_certified"),
    ("push.service", "push: who_the_enabler_is_must_be_certified"),
    ("push.ttl_seconds", "push: what_is_too_old_is_told_as_folders"),
    ("push.workers", "push: who_the_enabler_is_must_be_certified"),
    ("push.answer_seconds_max", "push: an_enabler_that_is_down_costs_only_time"),
    ("push.attempts_max", "push: wrong_answers_give_a_notice_up_and_not_the_next"),
    ("convert.cpu_seconds_max", "convert: time_is_bounded"),
    ("convert.seconds_max", "convert: time_is_bounded"),
    ("retention.deleted_days", "mss: what_is_long_deleted_goes_as_set"),
    ("limits.drain_seconds_max", "signals.rs: a_drain_is_bounded_by_its_setting"),
];

/// Values that are refused, of every setting that has such: (key, value).
const REFUSED: &[(&str, &str)] = &[
    ("registration.provider", "diameter"),
    ("registration.wait_seconds_max", "6"),
    ("registration.sip_transport", "sctp"),
    ("data.dir", ""),
    ("data.engine", "sqlite"),
    ("data.free_bytes_min", "-1"),
    ("fdb.api_version", "700"),
    ("fdb.prefix", "a name that is longer than 32 bytes"),
    ("fdb.connect_seconds_max", "0"),
    ("cluster.renew_ms", "99"),
    ("cluster.lease_ms", "4000"),
    ("cluster.advertise", "here:1"),
    ("front.patience_seconds", "0"),
    ("front.grace_seconds", "20"),
    ("imap.listen", "localhost"),
    ("imap.tls_listen", "127.0.0.1:0"),
    ("imap.idle_keepalive_seconds", "1741"),
    ("imap.url_host", "mail.example.net:143"),
    ("admin.listen", "9143"),
    ("imap.proxy_listen", "here"),
    ("imap.proxy_sources", "10.0.0.0/33"),
    ("reload.seconds", "86401"),
    ("imap.psk_listen", "127.0.0.1:0"),
    ("auth.psk.file", "/no/such/file"),
    ("auth.psk.bsf", "http://bsf.example.net"),
    ("auth.psk.naf", "imap.example.net:993"),
    ("auth.psk.gsid", "-1"),
    (
        "auth.psk.hint",
        "a hint that is longer than a hundred and twenty-eight octets, which is what OpenSSL has room for, so that it is refused here and at once",
    ),
    ("auth.oauth.jwks", "http://as.example.net/keys"),
    ("auth.oauth.issuer", "https://as.example.net/"),
    ("auth.oauth.audiences", "mss"),
    ("auth.oauth.algorithms", "HS256"),
    ("auth.oauth.address_claim", ""),
    ("auth.oauth.scope", "two words"),
    ("auth.oauth.leeway_seconds", "601"),
    ("auth.oauth.refresh_seconds", "9"),
    ("store.rpc_listen", ":9"),
    ("limits.connections_max", "0"),
    ("limits.connections_per_address_max", "1.5"),
    ("limits.connections_per_account_max", "many"),
    ("limits.command_line_bytes_max", "8191"),
    ("limits.login_seconds_max", "0"),
    ("limits.idle_seconds_max", "59"),
    ("limits.write_stall_seconds_max", "0"),
    ("limits.login_failures_max", "4294967296"),
    ("limits.drain_seconds_max", "601"),
    ("cache.folder_bytes", "1"),
    ("push.url", "ftp://enabler/"),
    ("push.encoder", "soap"),
    ("push.service", "two words"),
    ("push.ttl_seconds", "0"),
    ("push.workers", "0"),
    ("push.answer_seconds_max", "301"),
    ("push.attempts_max", "0"),
    ("push.retry_seconds_max", "3601"),
    ("convert.workers", "1025"),
    ("convert.memory_bytes_max", "1048576"),
    ("convert.cpu_seconds_max", "0"),
    ("convert.seconds_max", "0"),
    ("convert.source_bytes_max", "1"),
    ("convert.messages_max", "0"),
    ("convert.parts_max", "0"),
    ("convert.picture", "tiff"),
    ("convert.cache_bytes", "-1"),
    ("quota.bytes", "-5"),
    ("service.objects", "severe"),
    ("service.folders", "none"),
    ("service.delete", "never"),
    ("retention.feed_days", "0"),
    ("retention.deleted_days", "3651"),
    ("log.level", "loud"),
];

fn variable(key: &str) -> String {
    format!("MSS_{}", key.replace('.', "__").to_uppercase())
}

#[test]
fn what_cannot_be_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    for (key, value) in REFUSED.iter().copied() {
        let output = Command::new(binary().expect("the binary"))
            .arg("serve")
            .env("MSS_DATA__DIR", folder.path().join("data"))
            .env("MSS_IMAP__LISTEN", "127.0.0.1:0")
            .env("MSS_ADMIN__LISTEN", "127.0.0.1:0")
            .env(variable(key), value)
            .stdin(Stdio::null())
            .output()
            .expect("mss runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{key} = {value}: {said}");
        assert_eq!(said.lines().count(), 1, "{key} = {value}: {said}");
        assert!(said.contains(key), "{key} = {value}: {said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing was begun");
}

/// Named files are looked at, and what is wrong with them is told at once.
#[test]
fn an_engine_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for (key, value) in [("fdb.library", "/no/such/library.so"), ("fdb.cluster_file", "/no/such/fdb.cluster")]
    {
        let output = Command::new(binary().expect("the binary"))
            .args(["serve", "--engine", "fdb", "--imap", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("MSS_DATA__DIR", folder.path().join("data"))
            .env(variable(key), value)
            .stdin(Stdio::null())
            .output()
            .expect("mss runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{key}: {said}");
        let told = said.lines().filter(|line| line.starts_with("mss: ")).count();
        assert!(told == 1 && said.contains("fdb."), "{key}: {said}");
    }
}

/// Those of listeners, logs and bounds on logins; each line of the body is one setting.
#[test]
fn settings_of_the_front_take_effect() {
    let node = Node::start(&[
        ("MSS_ADMIN__LISTEN", ""),
        ("MSS_STORE__RPC_LISTEN", "127.0.0.1:0"),
        ("MSS_LOG__FORMAT", "json"),
        ("MSS_LOG__LEVEL", "warn"),
        ("MSS_LIMITS__CONNECTIONS_MAX", "3"),
        ("MSS_LIMITS__CONNECTIONS_PER_ACCOUNT_MAX", "1"),
        ("MSS_LIMITS__COMMAND_LINE_BYTES_MAX", "8192"),
        ("MSS_LIMITS__LOGIN_SECONDS_MAX", "2"),
        ("MSS_IMAP__IDLE_KEEPALIVE_SECONDS", "1"),
        ("MSS_IMAP__LITERAL_MINUS", "true"),
        ("MSS_IMAP__COMMENT", "well met"),
        ("MSS_IMAP__ADMIN", "mailto:mail@example.net"),
        ("MSS_IMAP__URL_HOST", "mail.example.net"),
    ]);
    assert_eq!(node.address("admin"), None, "admin.listen: {}", node.ready);
    assert!(node.address("rpc").is_some(), "store.rpc_listen: {}", node.ready);
    node.log_line(|line| line.starts_with('{')); // log.format
    assert!(!node.log().contains("\"INFO\""), "log.level: {}", node.log());

    let mut client = node.login();
    let second =
        Client::login(node.imap(), ADDRESS, PASSWORD).err().expect("limits.connections_per_account_max");
    assert!(second.to_string().contains("[LIMIT]"), "{second}");

    let (said, _) = client.expect_ok("CAPABILITY").expect("imap.literal_minus");
    let said: String = said.iter().map(conformance::client::Response::text).collect();
    assert!(said.contains(" LITERAL-") && !said.contains(" LITERAL+"), "{said}");

    for (entry, told) in [("/shared/comment", "well met"), ("/shared/admin", "mailto:mail@example.net")] {
        let (said, _) =
            client.expect_ok(&format!("GETMETADATA \"\" {entry}")).expect("imap.comment, imap.admin");
        assert!(said.iter().any(|line| line.text().contains(told)), "{entry}: {said:?}");
    }

    let address = ADDRESS.replace("tel:", "").replace(':', "%3A");
    for (host, status) in [("MAIL.example.net:143", "OK"), ("elsewhere.example.net", "BAD")] {
        let url = format!("imap://{address}@{host}/INBOX/;UID=1;URLAUTH=authuser");
        let (_, tagged) = client.command(&format!("GENURLAUTH \"{url}\" INTERNAL")).expect("imap.url_host");
        assert_eq!(tagged.kind(), status, "imap.url_host: {}", tagged.text());
    }

    let long = format!("a NOOP {}\r\n", "x".repeat(9_000));
    client.send(long.as_bytes()).expect("limits.command_line_bytes_max");
    assert_eq!(client.response().expect("refused").kind(), "BAD");

    client.send(b"b IDLE\r\n").expect("sent");
    client.response().expect("go ahead");
    let kept = client.response().expect("imap.idle_keepalive_seconds");
    assert!(kept.text().to_lowercase().contains("still here"), "{}", kept.text());

    let mut silent = Client::connect(node.imap(), "silent").expect("connected");
    let began = Instant::now();
    silent.response().expect("a greeting");
    let mut full: Vec<Client> = Vec::new();
    full.extend((0..2).map(|n| Client::connect(node.imap(), &format!("one more {n}")).expect("connected")));
    let greetings: Vec<String> = full.iter_mut().map(|c| c.response().expect("a greeting").kind()).collect();
    assert_eq!(greetings, ["OK", "BYE"], "limits.connections_max");
    assert_eq!(silent.response().expect("limits.login_seconds_max").kind(), "BYE");
    assert!(began.elapsed() > Duration::from_millis(1_500));
}

#[test]
fn settings_of_the_store_take_effect() {
    let node = Node::start(&[
        ("MSS_LIMITS__CONNECTIONS_PER_ADDRESS_MAX", "1"),
        ("MSS_LIMITS__LOGIN_FAILURES_MAX", "1"),
        ("MSS_QUOTA__BYTES", "4096"),
        ("MSS_CACHE__FOLDER_BYTES", "1048576"),
        ("MSS_CACHE__BODY_BYTES", "1048576"),
        ("MSS_CACHE__ENGINE_BYTES", "1048576"),
    ]);
    let client = node.login();
    let mut second = Client::connect(node.imap(), "second").expect("connected");
    assert_eq!(second.response().expect("limits.connections_per_address_max").kind(), "BYE");
    drop((client, second));

    let login = |password: &str| {
        let deadline = Instant::now() + patience();
        loop {
            // The place of the connection before may not be given back yet.
            match Client::login(node.imap(), ADDRESS, password) {
                Err(error) if error.to_string().contains("BYE") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => break other.map(drop).map_err(|error| error.to_string()),
            }
        }
    };
    assert!(login("wrong").is_err());
    login(PASSWORD).expect_err("limits.login_failures_max: refused unseen");
}

/// The accounts of one subscriber are apart, unless `imap.siblings` says otherwise.
#[test]
fn siblings_take_effect() {
    for (value, reached) in [("false", false), ("true", true)] {
        let node = Node::start(&[("MSS_IMAP__SIBLINGS", value)]);
        let data = node.folder.path().join("data").display().to_string();
        let (other, third) = ("sip:alice@example.com", "sip:bob@example.com");
        for address in [other, third] {
            run(&["account", "add", address, "--password-stdin", "--data", &data], b"secret\n")
                .expect("added");
        }
        run(&["account", "link", ADDRESS, other, "--data", &data], b"").expect("linked");
        let mut client = node.login();
        for (address, reached) in [(other, reached), (third, false)] {
            let status = format!("STATUS Other/{address}/INBOX (MESSAGES)");
            let (_, tagged) = client.command(&status).expect("an answer");
            assert_eq!(tagged.kind() == "OK", reached, "{value}: {status}: {}", tagged.text());
            let (said, _) = client.expect_ok("LIST \"\" Other/*").expect("a list");
            let listed = said.iter().any(|line| line.text().contains(&format!("{address}/INBOX")));
            assert_eq!(listed, reached, "{value}: {said:?}");
        }
    }
}

/// A class of service is given to accounts when they are made, and changed afterwards.
#[test]
fn classes_of_service_take_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let settings = folder.path().join("mss.toml");
    std::fs::write(&settings, "[service]\nobjects = \"strict\"\nfolders = \"cpm\"\ndelete = \"recursive\"\n")
        .expect("settings");
    let config = settings.display().to_string();
    let account = |action: &str, more: &[&str]| {
        let arguments = [&["account", action, ADDRESS, "--data", &data], more].concat();
        run(&arguments, b"secret\n").expect(action)
    };
    account("add", &["--password-stdin", "--config", &config]);
    let shown = account("show", &[]);
    assert!(shown.contains("strict objects, cpm folders, recursive delete"), "{shown}");
    account("configure", &["--folders", "free"]);
    account("configure", &["--quota-bytes", "4097"]);
    let shown = account("show", &[]);
    let class = "strict objects, free folders, recursive delete";
    assert!(shown.contains(class) && shown.contains("of 4097"), "{shown}");
    account("configure", &["--delete", "rfc3501"]);
    assert!(account("show", &[]).contains("strict objects, free folders, rfc3501 delete"));
}

/// Quotas are given to accounts when they are made.
#[test]
fn quotas_take_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let settings = folder.path().join("mss.toml");
    std::fs::write(&settings, "[quota]\nbytes = 4097\nmessages = 77\n").expect("settings");
    let config = settings.display().to_string();
    let add = ["account", "add", ADDRESS, "--password-stdin", "--data", &data, "--config", &config];
    run(&add, b"secret\n").expect("added");
    let shown = run(&["account", "show", ADDRESS, "--data", &data], b"").expect("shown");
    assert!(shown.contains("of 4097") && shown.contains("of 77"), "{shown}");
}

/// Every key of the file that operators start from has a line in this file that shows what it does.
#[test]
fn every_setting_has_its_test() {
    let shipped = include_str!("../../../../deploy/mss.toml");
    let tests = [include_str!("settings.rs"), include_str!("node.rs"), include_str!("convert.rs")].concat();
    let (mut section, mut keys) = (String::new(), BTreeSet::new());
    for line in shipped.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    assert!(keys.len() > 20, "{keys:?}");
    let untested: Vec<&String> = keys
        .iter()
        .filter(|key| !tests.contains(&variable(key)) && !tests.contains(&format!("(\"{key}\",")))
        .filter(|key| !SHOWN_ELSEWHERE.iter().any(|(shown, _)| shown == key))
        .collect();
    assert!(untested.is_empty(), "no test shows what these settings do: {untested:?}");
}
