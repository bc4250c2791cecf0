//! A SIP/IP core, as far as the tests need one: it reads and writes SIP by itself, over real sockets.

use std::collections::{HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reg_event::{Options, RegEvent, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

/// How long something expected may take, on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message(pub String);

impl Message {
    /// The first field of that name.
    pub fn field(&self, name: &str) -> &str {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default();
        let found = head.split("\r\n").skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    pub fn has(&self, name: &str) -> bool {
        let name = format!("\r\n{}:", name.to_lowercase());
        self.0.to_lowercase().contains(&name)
    }

    pub fn first_line(&self) -> &str {
        self.0.split("\r\n").next().unwrap_or_default()
    }
}

pub struct Core {
    pub address: SocketAddr,
    transport: Transport,
    incoming: mpsc::UnboundedReceiver<String>,
    outgoing: mpsc::UnboundedSender<String>,
    seen: HashSet<String>,
    /// Came before what was expected: answers and requests of the other side may overtake each other.
    early: VecDeque<String>,
    cseq: u32,
}

impl Core {
    pub async fn start(transport: Transport) -> Self {
        let (received, incoming) = mpsc::unbounded_channel();
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(any).await.expect("a port");
                let address = socket.local_addr().expect("bound");
                tokio::spawn(datagrams(socket, received, to_send));
                address
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(any).await.expect("a port");
                let address = listener.local_addr().expect("bound");
                tokio::spawn(stream(listener, received, to_send));
                address
            }
        };
        Self { address, transport, incoming, outgoing, seen: HashSet::new(), early: VecDeque::new(), cseq: 0 }
    }

    /// Somebody who listens to this core.
    pub async fn listener(&self, change: impl FnOnce(&mut Options)) -> RegEvent {
        let mut options = Options::new(
            self.address.to_string(),
            self.transport,
            free_port(),
            "sip:mss@store.example".to_owned(),
        );
        change(&mut options);
        RegEvent::start(options).await.expect("started")
    }

    /// The next message that is not one again; its first line begins so.
    pub async fn expect(&mut self, begins: &str) -> Message {
        if let Some(at) = self.early.iter().position(|message| message.starts_with(begins)) {
            return Message(self.early.remove(at).expect("it is there"));
        }
        loop {
            let message = tokio::time::timeout(PATIENCE, self.incoming.recv()).await;
            let message = message.unwrap_or_else(|_| panic!("no {begins}, but {:?}", self.early));
            let message = message.expect("the socket");
            if self.seen.insert(message.clone()) {
                if message.starts_with(begins) {
                    return Message(message);
                }
                self.early.push_back(message);
            }
        }
    }

    /// Whether nothing new comes for a while.
    pub async fn is_silent(&mut self) -> bool {
        while self.early.is_empty() {
            match tokio::time::timeout(Duration::from_millis(700), self.incoming.recv()).await {
                Err(_) => return true,
                Ok(Some(message)) if self.seen.contains(&message) => {}
                Ok(_) => return false,
            }
        }
        false
    }

    /// Answers a request; `more` are further lines.
    pub fn respond(&self, to: &Message, status: &str, more: &str) {
        let tag = if to.field("To").contains(";tag=") { "" } else { ";tag=core" };
        let response = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:scscf@{}>\r\n{more}Content-Length: 0\r\n\r\n",
            to.field("Via"),
            to.field("From"),
            to.field("To"),
            to.field("Call-ID"),
            to.field("CSeq"),
            self.address,
        );
        self.outgoing.send(response).expect("sent");
    }

    /// Sends a NOTIFY in the dialog of a SUBSCRIBE, changed by `change`.
    pub fn notify_with(
        &mut self,
        subscribe: &Message,
        state: &str,
        body: &str,
        change: impl Fn(String) -> String,
    ) {
        self.cseq += 1;
        let target = subscribe.field("Contact").trim_matches(['<', '>']);
        let via = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let to = subscribe.field("To").split(";tag=").next().unwrap_or_default();
        let text = format!(
            "NOTIFY {target} SIP/2.0\r\nVia: SIP/2.0/{via} {address};branch=z9hG4bKn{cseq}\r\nMax-Forwards: 70\r\n\
             From: {to};tag=core\r\nTo: {from}\r\nCall-ID: {call}\r\nCSeq: {cseq} NOTIFY\r\n\
             Contact: <sip:scscf@{address}>\r\nEvent: reg\r\nSubscription-State: {state}\r\n\
             Content-Type: application/reginfo+xml\r\nContent-Length: {length}\r\n\r\n{body}",
            address = self.address,
            cseq = self.cseq,
            from = subscribe.field("From"),
            call = subscribe.field("Call-ID"),
            length = body.len(),
        );
        self.outgoing.send(change(text)).expect("sent");
    }

    /// Sends a NOTIFY and waits for its 200.
    pub async fn notify(&mut self, subscribe: &Message, state: &str, body: &str) {
        self.notify_with(subscribe, state, body, |text| text);
        self.expect("SIP/2.0 200").await;
    }

    /// Takes the SUBSCRIBE that comes next, grants it for `expires` seconds and tells `body`.
    pub async fn subscribed(&mut self, expires: u32, body: String) -> Message {
        let subscribe = self.expect("SUBSCRIBE ").await;
        self.respond(&subscribe, "200 OK", &format!("Expires: {expires}\r\n"));
        self.notify(&subscribe, &format!("active;expires={expires}"), &body).await;
        subscribe
    }
}

/// A port that is free now.
pub fn free_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("bound")
}

async fn datagrams(
    socket: UdpSocket,
    received: mpsc::UnboundedSender<String>,
    mut to_send: mpsc::UnboundedReceiver<String>,
) {
    let mut peer = None;
    let mut space = vec![0; 65_536];
    loop {
        tokio::select! {
            Ok((length, from)) = socket.recv_from(&mut space) => {
                peer = Some(from);
                let _ = received.send(String::from_utf8_lossy(&space[..length]).into_owned());
            }
            Some(text) = to_send.recv() => {
                let peer = peer.expect("somebody to send to");
                socket.send_to(text.as_bytes(), peer).await.expect("sent");
            }
            else => return,
        }
    }
}

async fn stream(
    listener: TcpListener,
    received: mpsc::UnboundedSender<String>,
    mut to_send: mpsc::UnboundedReceiver<String>,
) {
    let (mut socket, _) = listener.accept().await.expect("a connection");
    let mut held = Vec::new();
    loop {
        tokio::select! {
            Ok(length) = socket.read_buf(&mut held) => {
                if length == 0 {
                    return;
                }
                while let Some(message) = frame(&mut held) {
                    let _ = received.send(message);
                }
            }
            Some(text) = to_send.recv() => socket.write_all(text.as_bytes()).await.expect("sent"),
            else => return,
        }
    }
}

/// The first whole message of a stream (RFC 3261 §18.3).
fn frame(held: &mut Vec<u8>) -> Option<String> {
    let end = held.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = Message(String::from_utf8_lossy(&held[..end]).into_owned());
    let end = end + head.field("Content-Length").parse::<usize>().expect("a number");
    (held.len() >= end).then(|| String::from_utf8_lossy(&held.drain(..end).collect::<Vec<_>>()).into_owned())
}
