//! Two devices and a network function at once, with kills between: each hears what the others did, and by PUSH nobody
//! what they did themselves.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conformance::client::{Client, ClientError, Response, patience};
use conformance::server::{Layout, Options, Server, User, run};
use serde_json::Value;

use crate::enabler::{Enabler, Mood, Taken};
use crate::message;

/// What a device knows of the folder: flags by UID.
type Known = BTreeMap<u64, String>;

/// How a device waits for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// In IDLE, in the folder.
    Idle,
    /// Outside of it, by NOTIFY.
    Notify,
}

/// What a listener has come to know, and what it was told.
#[derive(Debug, Default)]
struct Heard {
    known: Known,
    told: Vec<String>,
    /// Its connection, to wake it by.
    socket: Option<TcpStream>,
}

/// A device that hears of news and looks for them, and connects again whenever it is cut off.
struct Listener {
    heard: Arc<Mutex<Heard>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// All that is in the folder now.
fn look(client: &mut Client) -> Result<Known, ClientError> {
    loop {
        client.expect_ok("EXAMINE Default")?;
        let (told, _) = client.expect_ok("UID FETCH 1:* (FLAGS)")?;
        // News between the rows may be of rows before them: then it looks again.
        let rows: Option<Known> = told.iter().map(row).collect();
        if let Some(known) = rows {
            return Ok(known);
        }
    }
}

/// UID and flags of a row; none for anything else.
fn row(response: &Response) -> Option<(u64, String)> {
    let text = response.text();
    let uid: String = text.split_once("UID ")?.1.chars().take_while(char::is_ascii_digit).collect();
    let flags = text.split_once("FLAGS (")?.1.split(')').next()?.replace("\\Recent", "");
    let flags = flags.trim().to_owned();
    (response.kind() == "FETCH").then_some((uid.parse().ok()?, flags))
}

impl Listener {
    fn start(imap: SocketAddr, user: &User, device: &str, waits: Waits) -> Self {
        let (heard, over) = (Arc::new(Mutex::new(Heard::default())), Arc::new(AtomicBool::new(false)));
        let (user, device) = (user.clone(), device.to_owned());
        let (to, ends) = (heard.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // Cut off, it comes again.
                let _ = Self::live(imap, &user, &device, waits, &to);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let listener = Self { heard, over, thread: Some(thread) };
        listener.wait("a connection", |heard| heard.socket.is_some());
        listener
    }

    /// One connection: looks, waits for a word, looks again. Never ends well.
    fn live(
        imap: SocketAddr,
        user: &User,
        device: &str,
        waits: Waits,
        heard: &Mutex<Heard>,
    ) -> Result<(), ClientError> {
        let mut client = Client::login(imap, &user.name, &user.password)?;
        client.expect_ok(&format!("ID (\"device-id\" \"{device}\")"))?;
        let mut looker = match waits {
            Waits::Idle => None,
            Waits::Notify => {
                client.expect_ok("NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange))")?;
                Some(Client::login(imap, &user.name, &user.password)?)
            }
        };
        loop {
            let known = look(looker.as_mut().unwrap_or(&mut client))?;
            let idle = client.tag();
            if waits == Waits::Idle {
                client.send(format!("{idle} IDLE\r\n").as_bytes())?;
            }
            {
                let mut heard = heard.lock().expect("a lock");
                heard.known = known;
                heard.socket = client.socket().try_clone().ok();
            }
            let mut told: Option<Response> = None;
            while told.is_none() {
                let response = client.response()?;
                let is_news = match waits {
                    Waits::Idle => {
                        ["EXISTS", "EXPUNGE", "FETCH", "VANISHED"].contains(&response.kind().as_str())
                    }
                    Waits::Notify => response.kind() == "STATUS",
                };
                told = Some(response).filter(|_| is_news);
            }
            if waits == Waits::Idle {
                client.send(b"DONE\r\n")?;
                client.until(&idle)?;
            }
            heard.lock().expect("a lock").told.extend(told.map(|response| response.text()));
        }
    }

    fn wait(&self, what: &str, enough: impl Fn(&Heard) -> bool) {
        let deadline = Instant::now() + patience();
        loop {
            let heard = self.heard.lock().expect("a lock");
            if enough(&heard) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {heard:#?}");
            drop(heard);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn told(&self, kind: &str) -> bool {
        self.heard.lock().expect("a lock").told.iter().any(|line| line.contains(kind))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Ok(heard) = self.heard.lock() {
            // It may be cut off already.
            heard.socket.as_ref().map(|socket| socket.shutdown(Shutdown::Both));
        }
        // What failed in it shows in what it knows.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A session that acts: a device, or a network function for the subscriber. Waits until the tier serves.
fn session(server: &Server, user: &User, device: Option<&str>) -> Client {
    use base64::Engine as _;
    let deadline = Instant::now() + patience();
    loop {
        let begun = (|| {
            let mut client = Client::connect(server.imap, device.unwrap_or("function"))?;
            client.response()?;
            match device {
                Some(device) => {
                    client.expect_ok(&format!("LOGIN {} \"{}\"", user.name, user.password))?;
                    client.expect_ok(&format!("ID (\"device-id\" \"{device}\")"))?;
                }
                None => {
                    let plain = format!("{}\0pf-1\0sesame", user.name);
                    let plain = base64::engine::general_purpose::STANDARD.encode(plain);
                    client.expect_ok(&format!("AUTHENTICATE PLAIN {plain}"))?;
                }
            }
            client.expect_ok("SELECT Default")?;
            Ok::<_, ClientError>(client)
        })();
        match begun {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{error}\n{}", server.log()),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn recipients(notice: &Value) -> Vec<String> {
    let all = notice["recipients"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|one| one["device"].as_str().map(str::to_owned)).collect()
}

/// Whether a notice of a change that `by` made, seen by `is_it`, was taken.
fn told(taken: &[Taken], by: Option<&str>, is_it: impl Fn(&Value) -> bool) -> bool {
    taken.iter().map(Taken::message).any(|notice| {
        let events = notice["nmsEventList"]["nmsEvent"].as_array().cloned().unwrap_or_default();
        notice["triggering-device"].as_str() == by && events.iter().any(&is_it)
    })
}

fn is_new(event: &Value, id: &str) -> bool {
    event["changedObject"]["message"]["imdn-message-id"] == id
}

fn is_of_uid(event: &Value, object: &str, uid: u64) -> bool {
    event[object]["resourceURL"].as_str().is_some_and(|url| url.ends_with(&format!("/;UID={uid}")))
}

#[test]
fn two_devices_and_a_network_function_at_once() {
    let mut enabler = Enabler::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("functions").display().to_string();
    run(&["function", "add", "pf-1", "--password-stdin", "--file", &file], b"sesame\n").expect("a function");
    let settings = [
        ("MSS_PUSH__URL", enabler.url()),
        ("MSS_PUSH__RETRY_SECONDS_MAX", "1".to_owned()),
        ("MSS_NETWORK_FUNCTIONS__FILE", file),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let options =
        Options { layout: Layout::Apart { fronts: 1 }, accounts: 2, settings, ..Options::default() };
    let mut server = Server::start(&options).expect("a server");
    let (user, stranger) = (server.user(1), server.user(2));
    let store = format!("http://{}", server.stores[0].address("rpc").expect("a storage node"));
    for device in ["phone", "tablet"] {
        let arguments = ["account", "device", "add", &user.name, device, "--store", &store];
        run(&arguments, b"").expect("a device");
    }
    let phone = Listener::start(server.imap, &user, "phone", Waits::Idle);
    let tablet = Listener::start(server.imap, &user, "tablet", Waits::Notify);
    let other = Listener::start(server.imap, &stranger, "other", Waits::Idle);

    // Each round: the function deposits two messages, the phone reads one, the tablet deletes the other; and at once
    // something is killed, while the notices are under way.
    let mut expected = Known::new();
    for round in 0..3 {
        let mut acting = [None, Some("phone"), Some("tablet")].map(|device| session(&server, &user, device));
        for name in ["kept", "gone"] {
            let octets = message(&format!("{name}{round}"));
            let (_, answer) = acting[0].literal("APPEND Default", octets.as_bytes(), "").expect("APPEND");
            assert_eq!(answer.kind(), "OK", "{}", answer.text());
        }
        if round == 1 {
            server.fronts[0].restart().expect("the front end again");
            acting = [None, Some("phone"), Some("tablet")].map(|device| session(&server, &user, device));
        }
        let (kept, gone) = (2 * round + 1, 2 * round + 2);
        for session in &mut acting[1..] {
            session.expect_ok("NOOP").expect("NOOP");
        }
        acting[1].expect_ok(&format!("UID STORE {kept} +FLAGS.SILENT (\\Seen)")).expect("STORE");
        if round == 2 {
            enabler.go_down();
        }
        acting[2].expect_ok(&format!("UID STORE {gone} +FLAGS.SILENT (\\Deleted)")).expect("STORE");
        acting[2].expect_ok(&format!("UID EXPUNGE {gone}")).expect("EXPUNGE");
        expected.insert(kept, "\\Seen".to_owned());
        // The storage node, which also pushes, in the middle of it.
        server.stores[0].restart().expect("the storage node again");
        if round == 2 {
            enabler.come_back(Mood::Takes("ok"));
        }
    }
    for (name, listener) in [("phone", &phone), ("tablet", &tablet)] {
        listener.wait(name, |heard| heard.known == expected);
    }
    // On the sockets: in IDLE new messages, and what the other one did with them; by NOTIFY that the folder changed. What
    // was told so far may have been lost with a connection, so it is done once more in a calm moment: again where
    // a connection was still to be cut off.
    for calm in 0..5 {
        if phone.told("EXISTS") && phone.told("EXPUNGE") {
            break;
        }
        let [mut function, mut tablet] = [None, Some("tablet")].map(|device| session(&server, &user, device));
        let octets = message(&format!("calm{calm}"));
        let (_, answer) = function.literal("APPEND Default", octets.as_bytes(), "").expect("APPEND");
        assert_eq!(answer.kind(), "OK", "{}", answer.text());
        let uid = 7 + calm;
        phone.wait("a new message", |heard| heard.known.contains_key(&uid));
        tablet.expect_ok("NOOP").expect("NOOP");
        tablet.expect_ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).expect("STORE");
        phone.wait("a flag", |heard| heard.known.get(&uid).is_some_and(|flags| flags == "\\Deleted"));
        tablet.expect_ok(&format!("UID EXPUNGE {uid}")).expect("EXPUNGE");
        phone.wait("a removal", |heard| heard.known == expected);
    }
    assert!(phone.told("EXISTS") && phone.told("EXPUNGE"));
    tablet.wait("what changed", |heard| heard.told.iter().any(|line| line.contains("Default")));
    // Nobody else hears anything.
    let heard = other.heard.lock().expect("a lock");
    assert!(heard.known.is_empty() && heard.told.is_empty(), "{heard:?}");
    drop(heard);

    let taken = enabler.wait("a notice of everything", |taken| {
        (0..3).all(|round| {
            let (kept, gone) = (2 * round + 1, 2 * round + 2);
            // What was deleted while the enabler was down may be told as deleted alone.
            let new: &[&str] = if round == 2 { &["kept"] } else { &["kept", "gone"] };
            new.iter().all(|name| told(taken, None, |event| is_new(event, &format!("{name}{round}"))))
                && told(taken, Some("phone"), |event| is_of_uid(event, "changedObject", kept))
                && told(taken, Some("tablet"), |event| is_of_uid(event, "deletedObject", gone))
        })
    });
    for notice in taken.iter().map(Taken::message) {
        let wanted: &[&str] = match notice["triggering-device"].as_str() {
            None => &["phone", "tablet"],
            Some("phone") => &["tablet"],
            Some("tablet") => &["phone"],
            Some(another) => panic!("{another}"),
        };
        assert_eq!(recipients(&notice), wanted, "{notice}");
    }
}
