//! Listening to a core that was written for it, over real sockets.

mod notifier;

use std::time::{Duration, Instant};

use model::{CpmAddress, DeviceId};
use reg_event::{Options, RegEvent, RegEventError, Transport};
use registration::{Departure, Provider, RegistrationSet};

use crate::notifier::{Core, Message, free_port};

const NUMBER: &str = "tel:+15550000001";
const ALICE: &str = "sip:alice@example.com";
const INSTANCE: &str = "<urn:gsma:imei:90420156-025763-0>";

fn address(text: &str) -> CpmAddress {
    CpmAddress::parse(text).expect("an address")
}

fn set(others: &[&str]) -> RegistrationSet {
    RegistrationSet::new(address(NUMBER), others.iter().map(|text| address(text)))
}

/// A document: each registration is an address, its state, and its contact with its state.
fn document(version: u32, state: &str, registrations: &[(&str, &str, &str)]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?><reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"{version}\" state=\"{state}\">"
    );
    for (aor, is, contact) in registrations {
        text.push_str(&format!(
            "<registration aor=\"{aor}\" id=\"r-{aor}\" state=\"{is}\">\
             <contact id=\"c-{aor}\" state=\"{contact}\" event=\"registered\"><uri>sip:ue@192.0.2.7</uri>\
             <unknown-param name=\"+sip.instance\">\"{}\"</unknown-param></contact></registration>",
            INSTANCE.replace('<', "&lt;").replace('>', "&gt;")
        ));
    }
    text + "</reginfo>"
}

fn both(version: u32) -> String {
    document(version, "full", &[(NUMBER, "active", "active"), (ALICE, "active", "active")])
}

/// Asks until the answer is this one: what a NOTIFY changed is known soon after its 200.
async fn becomes(listener: &RegEvent, expected: &RegistrationSet) {
    let until = Instant::now() + Duration::from_secs(20);
    while listener.ask(&address(NUMBER), &[]).await.as_ref() != Ok(expected) {
        assert!(Instant::now() < until, "never became {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn first_question(transport: Transport) {
    let mut core = Core::start(transport).await;
    let listener = core.listener(|_| {}).await;
    let (number, nothing) = (address(NUMBER), []);
    let asked = listener.ask(&number, &nothing);
    let answered = core.subscribed(3_600, both(0));
    let (known, subscribe) = tokio::join!(asked, answered);
    assert_eq!(known, Ok(set(&[ALICE])));
    assert_eq!(subscribe.first_line(), format!("SUBSCRIBE {NUMBER} SIP/2.0"));
    for (field, is) in [
        ("Event", "reg"),
        ("Accept", "application/reginfo+xml"),
        ("Expires", "3600"),
        ("To", "<tel:+15550000001>"),
        ("P-Asserted-Identity", "<sip:mss@store.example>"),
        ("CSeq", "1 SUBSCRIBE"),
    ] {
        assert_eq!(subscribe.field(field), is);
    }
    assert!(subscribe.field("Route").contains(&core.address.to_string()), "{subscribe:?}");
    // Who asks again need not wait for the core.
    assert_eq!(listener.ask(&number, &nothing).await, Ok(set(&[ALICE])));
    assert!(core.is_silent().await);
}

#[tokio::test]
async fn the_set_over_udp() {
    first_question(Transport::Udp).await;
}

#[tokio::test]
async fn the_set_over_tcp() {
    first_question(Transport::Tcp).await;
}

/// Asks again and again, for ever.
async fn keep_asking(listener: &RegEvent) {
    loop {
        let _ = listener.ask(&address(NUMBER), &[]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A listener that knows both addresses, and the SUBSCRIBE that it sent.
async fn known(core: &mut Core, change: impl FnOnce(&mut Options)) -> (RegEvent, Message) {
    let listener = core.listener(change).await;
    let number = address(NUMBER);
    let (known, subscribe) = tokio::join!(listener.ask(&number, &[]), core.subscribed(3_600, both(0)));
    assert_eq!(known, Ok(set(&[ALICE])));
    (listener, subscribe)
}

#[tokio::test]
async fn changes_and_departures() {
    let mut core = Core::start(Transport::Udp).await;
    let (listener, subscribe) = known(&mut core, |_| {}).await;
    let mut departures = listener.departures().expect("it hears of them");
    let partial = document(1, "partial", &[(ALICE, "terminated", "terminated")]);
    core.notify(&subscribe, "active;expires=3000", &partial).await;
    becomes(&listener, &set(&[])).await;
    let gone = tokio::time::timeout(Duration::from_secs(20), departures.recv()).await.expect("in time");
    let device = DeviceId::parse(INSTANCE.as_bytes()).ok();
    assert_eq!(gone, Ok(Departure { address: address(ALICE), contact: "sip:ue@192.0.2.7".into(), device }));
    // It comes back.
    core.notify(&subscribe, "active", &document(2, "partial", &[(ALICE, "active", "active")])).await;
    becomes(&listener, &set(&[ALICE])).await;
    // The address itself leaves: nothing is registered with it.
    core.notify(&subscribe, "active", &document(3, "partial", &[(NUMBER, "terminated", "terminated")])).await;
    becomes(&listener, &set(&[])).await;
    assert_eq!(departures.recv().await.expect("a departure").address, address(NUMBER));
}

#[tokio::test]
async fn it_is_renewed_in_its_dialog() {
    let mut core = Core::start(Transport::Udp).await;
    let listener = core.listener(|_| {}).await;
    let address = address(NUMBER);
    let begin = async {
        let subscribe = core.expect("SUBSCRIBE ").await;
        let route = format!("Record-Route: <sip:far@{0};lr>, <sip:near@{0};lr>\r\n", core.address);
        core.respond(&subscribe, "200 OK", &format!("{route}Expires: 2\r\n"));
        core.notify(&subscribe, "active;expires=2", &both(0)).await;
        subscribe
    };
    let (known, subscribe) = tokio::join!(listener.ask(&address, &[]), begin);
    assert_eq!(known, Ok(set(&[ALICE])));
    let renewal = core.expect("SUBSCRIBE ").await;
    assert_eq!(renewal.first_line(), format!("SUBSCRIBE sip:scscf@{} SIP/2.0", core.address));
    assert_eq!(renewal.field("Call-ID"), subscribe.field("Call-ID"));
    assert_eq!(renewal.field("From"), subscribe.field("From"));
    assert!(renewal.field("To").ends_with(";tag=core"), "{renewal:?}");
    assert_eq!(renewal.field("CSeq"), "2 SUBSCRIBE");
    assert!(renewal.field("Route").starts_with("<sip:near@"), "{renewal:?}");
    core.respond(&renewal, "200 OK", "Expires: 3600\r\n");
    assert!(core.is_silent().await);
}

#[tokio::test]
async fn what_is_lost_is_made_anew() {
    let mut core = Core::start(Transport::Udp).await;
    let (listener, first) = known(&mut core, |_| {}).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    core.notify(&first, "terminated;reason=deactivated", "").await;
    let second = core.subscribed(3_600, document(0, "full", &[(NUMBER, "active", "active")])).await;
    assert_ne!(first.field("Call-ID"), second.field("Call-ID"));
    becomes(&listener, &set(&[])).await;
    // The old dialog is nobody's.
    core.notify_with(&first, "active", &both(9), |text| text);
    core.expect("SIP/2.0 481").await;
    // The core forgot the dialog: told so at a renewal, it is asked anew at once.
    core.notify(&second, "active;expires=1", &document(1, "partial", &[])).await;
    let renewal = core.expect("SUBSCRIBE ").await;
    core.respond(&renewal, "481 Call/Transaction Does Not Exist", "");
    core.subscribed(3_600, both(0)).await;
    becomes(&listener, &set(&[ALICE])).await;
}

#[tokio::test]
async fn a_document_that_was_missed_is_asked_for() {
    let mut core = Core::start(Transport::Udp).await;
    let (listener, subscribe) = known(&mut core, |_| {}).await;
    core.notify(&subscribe, "active", &document(5, "partial", &[("sip:b@example.com", "active", "active")]))
        .await;
    let renewal = core.expect("SUBSCRIBE ").await;
    assert_eq!(renewal.field("Call-ID"), subscribe.field("Call-ID"));
    core.respond(&renewal, "200 OK", "Expires: 3600\r\n");
    core.notify(&subscribe, "active", &document(6, "full", &[(NUMBER, "active", "active")])).await;
    becomes(&listener, &set(&[])).await;
}

#[tokio::test]
async fn only_its_own_dialogs_and_documents_are_taken() {
    let mut core = Core::start(Transport::Udp).await;
    let (listener, subscribe) = known(&mut core, |_| {}).await;
    let alone = document(1, "full", &[(NUMBER, "active", "active")]);
    let local = subscribe.field("From").split(";tag=").nth(1).expect("a tag").to_owned();
    let call = subscribe.field("Call-ID").to_owned();
    for (from, to, code) in [
        (call.as_str(), "another", "481"),
        (local.as_str(), "another", "481"),
        (";tag=core", ";tag=another", "481"),
        ("Event: reg", "Event: presence", "489"),
        ("application/reginfo+xml", "application/pidf+xml", "415"),
        ("Subscription-State", "X-State", "400"),
        ("<reginfo ", "<reginfx ", "400"),
    ] {
        core.notify_with(&subscribe, "active", &alone, |text| text.replace(from, to));
        core.expect(&format!("SIP/2.0 {code}")).await;
    }
    // Out of order.
    core.notify(&subscribe, "active", "").await;
    core.notify_with(&subscribe, "active", &alone, |text| {
        let (head, rest) = text.split_once("CSeq: ").expect("a CSeq");
        let (_, rest) = rest.split_once(' ').expect("a number");
        format!("{head}CSeq: 1 {rest}")
    });
    core.expect("SIP/2.0 500").await;
    assert_eq!(listener.ask(&address(NUMBER), &[]).await, Ok(set(&[ALICE])));
    core.notify(&subscribe, "active", &alone).await;
    becomes(&listener, &set(&[])).await;
}

#[tokio::test]
async fn a_notify_may_come_before_the_answer() {
    let mut core = Core::start(Transport::Udp).await;
    let listener = core.listener(|_| {}).await;
    let number = address(NUMBER);
    let begin = async {
        let subscribe = core.expect("SUBSCRIBE ").await;
        core.notify(&subscribe, "active;expires=600", &both(0)).await;
        core.respond(&subscribe, "200 OK", "Expires: 600\r\n");
    };
    let (known, ()) = tokio::join!(listener.ask(&number, &[]), begin);
    assert_eq!(known, Ok(set(&[ALICE])));
}

#[tokio::test]
async fn refusals_are_told_at_once_and_tried_again_later() {
    let mut core = Core::start(Transport::Udp).await;
    let listener = core.listener(|_| {}).await;
    let number = address(NUMBER);
    let refuse = async {
        let subscribe = core.expect("SUBSCRIBE ").await;
        core.respond(&subscribe, "403 Forbidden", "");
    };
    let (known, ()) = tokio::join!(listener.ask(&number, &[]), refuse);
    assert_eq!(known.expect_err("refused").to_string(), "the core answered 403");
    // Who asks meanwhile does not wait.
    assert!(listener.ask(&number, &[]).await.is_err());
    core.subscribed(3_600, both(0)).await;
    becomes(&listener, &set(&[ALICE])).await;
}

#[tokio::test]
async fn a_time_that_is_too_short_is_lengthened() {
    let mut core = Core::start(Transport::Udp).await;
    let listener = core.listener(|options| options.expires = Duration::from_secs(60)).await;
    let number = address(NUMBER);
    let begin = async {
        let subscribe = core.expect("SUBSCRIBE ").await;
        assert_eq!(subscribe.field("Expires"), "60");
        core.respond(&subscribe, "423 Interval Too Brief", "Min-Expires: 900\r\n");
        core.subscribed(900, both(0)).await
    };
    let (known, subscribe) = tokio::join!(listener.ask(&number, &[]), begin);
    assert_eq!((known, subscribe.field("Expires")), (Ok(set(&[ALICE])), "900"));
    assert!(!subscribe.has("Record-Route"));
}

#[tokio::test]
async fn an_address_nobody_asks_for_is_given_up() {
    let mut core = Core::start(Transport::Udp).await;
    let listener = core.listener(|options| options.kept = Duration::ZERO).await;
    let number = address(NUMBER);
    let (known, subscribe) = tokio::join!(listener.ask(&number, &[]), core.subscribed(1, both(0)));
    assert!(known.is_ok());
    let end = core.expect("SUBSCRIBE ").await;
    assert_eq!((end.field("Expires"), end.field("Call-ID")), ("0", subscribe.field("Call-ID")));
    core.respond(&end, "200 OK", "Expires: 0\r\n");
    // Asked for again, it begins anew.
    let again = tokio::select! {
        again = core.subscribed(3_600, both(0)) => again,
        () = keep_asking(&listener) => return,
    };
    assert_ne!(again.field("Call-ID"), subscribe.field("Call-ID"));
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound");
    let options =
        Options::new("127.0.0.1:5060".into(), Transport::Tcp, listen, "sip:mss@store.example".into());
    assert!(
        matches!(RegEvent::start(options.clone()).await, Err(RegEventError::Listen(at, _)) if at == listen)
    );
    for own_uri in ["", "mss", "tel:+1", "sip:a@b>;tag=x"] {
        let options = Options { own_uri: own_uri.into(), listen: free_port(), ..options.clone() };
        assert!(matches!(RegEvent::start(options).await, Err(RegEventError::OwnUri(_))), "{own_uri}");
    }
}
