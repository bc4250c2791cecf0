//! One address: its dialog with the core, and its life from the first question to the last.
//!
//! Source: RFC 6665 §4.1 (subscriber), RFC 3680 §4, 3GPP TS 24.229 §5.7.1.1. It is renewed in time, and made anew when it
//! was lost, at once or after a pause, as the core asks. While it is lost the core is not known to have changed its mind,
//! and so it says that it does not know, rather than that nothing is registered.

use std::time::Duration;

use model::CpmAddress;
use parking_lot::Mutex;
use rand::Rng;
use registration::RegistrationSet;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::Inner;
use crate::limits::{NOTIFY_WAIT, NUDGES_WAITING_MAX, PAUSE_MAX, PAUSE_MIN};
use crate::reginfo::RegInfo;
use crate::sip::{Fields, Incoming, Sip, host_port, tag, uri, values};
use crate::table::Table;
use crate::telemetry;

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing yet.
    Asking,
    /// The set, as the core told it last.
    Known(RegistrationSet),
    /// Nothing any more, or nothing at all, and why.
    Lost(String),
}

/// What a NOTIFY asks of the task that keeps the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// A document came.
    Told,
    /// One was missed: all must be told anew.
    Refresh,
    /// It ends so much sooner than was said before.
    EndsIn(Duration),
    /// It has ended; when to try again, at once if zero, none for when one thinks fit.
    Ended(Option<Duration>),
}

/// A subscription to the registration of one address.
pub(crate) struct Subscription {
    pub address: CpmAddress,
    status: watch::Sender<Status>,
    asked_at: Mutex<Instant>,
    dialog: Mutex<Dialog>,
    nudge: mpsc::Sender<Nudge>,
}

/// What both ends of a dialog agree on (RFC 3261 §12).
#[derive(Debug, Default)]
struct Dialog {
    call_id: String,
    local_tag: String,
    remote_tag: Option<String>,
    /// Where requests within the dialog go to.
    target: Option<String>,
    /// Proxies that they pass, in order.
    routes: Vec<String>,
    cseq: u32,
    remote_cseq: Option<u32>,
    table: Table,
}

/// Why a subscription ended.
enum End {
    /// Nobody asked for long, or the process ends.
    Over,
    /// Something went wrong; when to try again, none for when one thinks fit.
    Lost(String, Option<Duration>),
}

/// 128 random bits.
fn random() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

impl Subscription {
    pub fn new(address: CpmAddress) -> (Self, mpsc::Receiver<Nudge>) {
        let (nudge, nudges) = mpsc::channel(NUDGES_WAITING_MAX);
        let subscription = Self {
            address,
            status: watch::Sender::new(Status::Asking),
            asked_at: Mutex::new(Instant::now()),
            dialog: Mutex::default(),
            nudge,
        };
        (subscription, nudges)
    }

    /// Notes that somebody wants to know.
    pub fn asked(&self) {
        *self.asked_at.lock() = Instant::now();
    }

    /// Waits until something is known, or known not to be.
    pub async fn answer(&self) -> Status {
        let mut status = self.status.subscribe();
        match status.wait_for(|status| *status != Status::Asking).await {
            Ok(status) => status.clone(),
            Err(_) => Status::Asking,
        }
    }

    /// Keeps the subscription until nobody wants it any more.
    pub async fn run(
        self: &std::sync::Arc<Self>,
        inner: &std::sync::Arc<Inner>,
        sip: &Sip,
        mut nudges: mpsc::Receiver<Nudge>,
    ) {
        let mut pause = PAUSE_MIN;
        loop {
            let call_id = format!("{}@{}", random(), inner.options.listen.ip());
            *self.dialog.lock() =
                Dialog { call_id: call_id.clone(), local_tag: random(), ..Dialog::default() };
            while nudges.try_recv().is_ok() {}
            inner.dialogs.lock().insert(call_id.clone(), self.clone());
            let began = Instant::now();
            let end = tokio::select! {
                end = self.keep(inner, sip, &mut nudges, &mut pause) => end,
                () = inner.stop.cancelled() => End::Over,
            };
            inner.dialogs.lock().remove(&call_id);
            let End::Lost(why, wanted) = end else { return };
            telemetry::lost();
            tracing::info!(why, "a subscription to the registration of an address was lost");
            self.status.send_replace(Status::Lost(why));
            if self.is_unwanted(inner) {
                return;
            }
            let wait = match wanted {
                // At once, but not over and over.
                Some(wanted) if !wanted.is_zero() || began.elapsed() >= PAUSE_MIN => wanted,
                _ => {
                    // Not all together, after the core was away.
                    let wait = pause.mul_f64(rand::rng().random_range(0.5..1.5));
                    pause = (pause * 2).min(PAUSE_MAX);
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = inner.stop.cancelled() => return,
            }
        }
    }

    fn is_unwanted(&self, inner: &Inner) -> bool {
        self.asked_at.lock().elapsed() > inner.options.kept
    }

    /// Subscribes, and renews until it ends.
    async fn keep(
        &self,
        inner: &Inner,
        sip: &Sip,
        nudges: &mut mpsc::Receiver<Nudge>,
        pause: &mut Duration,
    ) -> End {
        let mut granted = match self.subscribe(inner, sip, inner.options.expires).await {
            Ok(granted) => granted,
            Err(end) => return end,
        };
        let mut renew_at = Instant::now() + until_renewal(granted);
        let first_by = Instant::now() + NOTIFY_WAIT;
        loop {
            let known = self.dialog.lock().table.is_known();
            if known {
                *pause = PAUSE_MIN;
            }
            let next = if known { renew_at } else { renew_at.min(first_by) };
            let nudge = tokio::select! {
                nudge = nudges.recv() => nudge,
                () = tokio::time::sleep_until(next) => None,
            };
            match nudge {
                Some(Nudge::Ended(wanted)) => {
                    return End::Lost("the core ended it".to_owned(), wanted);
                }
                Some(Nudge::EndsIn(time)) => {
                    renew_at = renew_at.min(Instant::now() + until_renewal(time));
                    continue;
                }
                Some(Nudge::Told) => continue,
                Some(Nudge::Refresh) => {}
                None if !known && next == first_by => {
                    return End::Lost("the core told nothing".to_owned(), None);
                }
                None if self.is_unwanted(inner) => {
                    // An answer changes nothing: what is not ended now expires.
                    let _ = self.subscribe(inner, sip, Duration::ZERO).await;
                    return End::Over;
                }
                None => {}
            }
            granted = match self.subscribe(inner, sip, inner.options.expires).await {
                Ok(granted) => granted,
                // RFC 6665 §4.1.2.3: the core has forgotten it; it hears of us again at once.
                Err(End::Lost(why, None)) => return End::Lost(why, Some(Duration::ZERO)),
                Err(end) => return end,
            };
            renew_at = Instant::now() + until_renewal(granted);
        }
    }

    /// Sends SUBSCRIBE, once more if the core wants a longer time. Returns the time granted.
    async fn subscribe(&self, inner: &Inner, sip: &Sip, expires: Duration) -> Result<Duration, End> {
        let lost = |why: String| End::Lost(why, None);
        let mut expires = u32::try_from(expires.as_secs()).unwrap_or(u32::MAX);
        for _ in 0..2 {
            let (request, hop) = self.request(inner, expires);
            let to = tokio::net::lookup_host(&hop).await.ok().and_then(|mut found| found.next());
            let to = to.ok_or_else(|| lost(format!("{hop} has no address")))?;
            let answer = sip.ask(&request, to).await.map_err(lost)?;
            let Some(answer) = answer else {
                return Err(lost(format!("{hop} did not answer")));
            };
            match answer.code {
                200..=299 => {
                    self.established(&answer.fields);
                    let granted = answer.fields.number("Expires").unwrap_or(expires).min(expires);
                    return Ok(Duration::from_secs(granted.into()));
                }
                423 => match answer.fields.number("Min-Expires") {
                    Some(least) if least > expires => expires = least,
                    _ => return Err(lost("the core finds the time too short".to_owned())),
                },
                code => {
                    let wanted = answer.fields.number("Retry-After").map(|n| Duration::from_secs(n.into()));
                    let wanted = wanted.map(|time| time.clamp(PAUSE_MIN, PAUSE_MAX));
                    return Err(End::Lost(format!("the core answered {code}"), wanted));
                }
            }
        }
        Err(lost("the core finds the time too short".to_owned()))
    }

    /// A SUBSCRIBE, and the host and port that it goes to.
    fn request(&self, inner: &Inner, expires: u32) -> (String, String) {
        let options = &inner.options;
        let (listen, transport) = (options.listen, options.transport.name());
        let mut dialog = self.dialog.lock();
        dialog.cseq += 1;
        let target = dialog.target.clone().unwrap_or_else(|| self.address.to_string());
        let mut routes = String::new();
        let mut hop = options.proxy.clone();
        if dialog.target.is_some() {
            for route in &dialog.routes {
                routes.push_str(&format!("Route: <{route}>\r\n"));
            }
            // The first proxy on the way, or the other end itself.
            if let Some(next) = host_port(dialog.routes.first().unwrap_or(&target)) {
                hop = next;
            }
        } else {
            routes.push_str(&format!(
                "Route: <sip:{};transport={};lr>\r\n",
                options.proxy,
                transport.to_lowercase()
            ));
        }
        let to_tag = dialog.remote_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let request = format!(
            "SUBSCRIBE {target} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {listen};branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\n\
             {routes}\
             From: <{own}>;tag={local}\r\n\
             To: <{address}>{to_tag}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} SUBSCRIBE\r\n\
             Contact: <sip:mss@{listen};transport={lower}>\r\n\
             P-Asserted-Identity: <{own}>\r\n\
             Event: reg\r\n\
             Accept: application/reginfo+xml\r\n\
             Expires: {expires}\r\n\
             Content-Length: 0\r\n\r\n",
            branch = random(),
            own = options.own_uri,
            local = dialog.local_tag,
            address = self.address,
            call_id = dialog.call_id,
            cseq = dialog.cseq,
            lower = transport.to_lowercase(),
        );
        (request, hop)
    }

    /// Notes what the answer to a SUBSCRIBE says of the dialog.
    fn established(&self, fields: &Fields) {
        let mut dialog = self.dialog.lock();
        if dialog.remote_tag.is_none() {
            dialog.remote_tag = fields.get("To").and_then(tag).map(str::to_owned);
        }
        if dialog.target.is_none() {
            // RFC 3261 §12.1.2: the first proxy is named last.
            let routes = fields.all("Record-Route").flat_map(values);
            dialog.routes = routes.filter_map(uri).map(str::to_owned).collect();
            dialog.routes.reverse();
        }
        // A refresh may change it (RFC 6665 §4.4.1).
        if let Some(target) = fields.get("Contact").and_then(uri) {
            dialog.target = Some(target.to_owned());
        }
    }

    /// Takes a NOTIFY with the Call-ID of this subscription; returns the code to answer with.
    pub fn notified(&self, inner: &Inner, request: &Incoming) -> u16 {
        let code = self.take(inner, request);
        telemetry::notified(code);
        if code >= 300 {
            tracing::debug!(code, "a NOTIFY was refused");
        }
        code
    }

    fn take(&self, inner: &Inner, request: &Incoming) -> u16 {
        let fields = &request.fields;
        let mut dialog = self.dialog.lock();
        let from = fields.get("From").and_then(tag);
        let ours = fields.get("To").and_then(tag) == Some(dialog.local_tag.as_str());
        // The first NOTIFY may come before the answer to SUBSCRIBE, and makes the dialog then (RFC 6665 §4.1.2.4). `reg`
        // has one dialog for a subscription (RFC 3680 §4.10): another's is none of ours.
        if !ours || from.is_none() || dialog.remote_tag.is_some() && dialog.remote_tag.as_deref() != from {
            return 481;
        }
        if fields.get("Event").and_then(|event| event.split(';').next()).map(str::trim) != Some("reg") {
            return 489;
        }
        let Some(cseq) = fields.number("CSeq") else {
            return 400;
        };
        match dialog.remote_cseq {
            Some(last) if cseq == last => return 200,
            // RFC 3261 §12.2.2.
            Some(last) if cseq < last => return 500,
            _ => {}
        }
        let Some(state) = fields.get("Subscription-State").map(State::parse) else {
            return 400;
        };
        let info = if request.body.is_empty() {
            None
        } else {
            let kind = fields.get("Content-Type").and_then(|kind| kind.split(';').next());
            if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/reginfo+xml")) {
                return 415;
            }
            match RegInfo::parse(&request.body) {
                Ok(info) => Some(info),
                Err(error) => {
                    tracing::warn!(%error, "a document of the core was refused");
                    return 400;
                }
            }
        };
        dialog.remote_cseq = Some(cseq);
        if dialog.remote_tag.is_none() {
            dialog.remote_tag = from.map(str::to_owned);
        }
        if dialog.target.is_none() {
            dialog.target = fields.get("Contact").and_then(uri).map(str::to_owned);
            // RFC 3261 §12.1.1: the other way round than in an answer.
            let routes = fields.all("Record-Route").flat_map(values);
            dialog.routes = routes.filter_map(uri).map(str::to_owned).collect();
        }
        if let Some(info) = info {
            let applied = dialog.table.apply(info);
            if dialog.table.is_known() {
                self.status.send_replace(Status::Known(dialog.table.set(&self.address)));
            }
            for departure in applied.departures {
                // None listens: then nobody wants to know.
                let _ = inner.departures.send(departure);
            }
            // Where so many wait already the task will look.
            let _ = self.nudge.try_send(if applied.missed { Nudge::Refresh } else { Nudge::Told });
        }
        match state {
            State::Ended(wanted) => {
                let _ = self.nudge.try_send(Nudge::Ended(wanted));
            }
            State::Alive(Some(time)) => {
                let _ = self.nudge.try_send(Nudge::EndsIn(time));
            }
            State::Alive(None) => {}
        }
        200
    }
}

/// What Subscription-State says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// How long still, where it is told.
    Alive(Option<Duration>),
    /// When to try again: at once if zero, none for when one thinks fit.
    Ended(Option<Duration>),
}

impl State {
    /// Source: RFC 6665 §4.1.3 and §8.2.3.
    fn parse(value: &str) -> Self {
        let mut parts = value.split(';').map(str::trim);
        let word = parts.next().unwrap_or_default();
        let (mut reason, mut seconds, mut after) = ("", None, None);
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("reason") => reason = value,
                Some((name, value)) if name.eq_ignore_ascii_case("expires") => {
                    seconds = value.parse().ok();
                }
                Some((name, value)) if name.eq_ignore_ascii_case("retry-after") => {
                    after = value.parse().ok();
                }
                _ => {}
            }
        }
        if !word.eq_ignore_ascii_case("terminated") {
            return Self::Alive(seconds.map(Duration::from_secs));
        }
        match reason.to_ascii_lowercase().as_str() {
            "deactivated" | "timeout" => Self::Ended(Some(Duration::ZERO)),
            // Trying again is of no use soon.
            "rejected" | "noresource" | "invariant" => Self::Ended(Some(PAUSE_MAX)),
            _ => Self::Ended(after.map(|n: u64| Duration::from_secs(n).clamp(PAUSE_MIN, PAUSE_MAX))),
        }
    }
}

/// When to renew what is granted for a time: ten minutes before its end, or at half of it where that is short (3GPP TS
/// 24.229 §5.7.1.1).
fn until_renewal(granted: Duration) -> Duration {
    const AHEAD: Duration = Duration::from_secs(600);
    let wait = if granted > 2 * AHEAD { granted.saturating_sub(AHEAD) } else { granted / 2 };
    wait.max(Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let seconds = Duration::from_secs;
        for (value, expected) in [
            ("active", State::Alive(None)),
            ("Active;expires=600", State::Alive(Some(seconds(600)))),
            ("pending ; expires=5", State::Alive(Some(seconds(5)))),
            ("terminated", State::Ended(None)),
            ("terminated;reason=deactivated", State::Ended(Some(seconds(0)))),
            ("terminated;reason=timeout", State::Ended(Some(seconds(0)))),
            ("terminated;reason=probation;retry-after=20", State::Ended(Some(seconds(20)))),
            ("terminated;reason=giveup", State::Ended(None)),
            ("terminated;reason=rejected;retry-after=1", State::Ended(Some(PAUSE_MAX))),
            ("terminated;retry-after=99999999", State::Ended(Some(PAUSE_MAX))),
        ] {
            assert_eq!(State::parse(value), expected, "{value}");
        }
    }

    #[test]
    fn renewals() {
        let seconds = Duration::from_secs;
        assert_eq!(until_renewal(seconds(600_000)), seconds(599_400));
        assert_eq!(until_renewal(seconds(1_200)), seconds(600));
        assert_eq!(until_renewal(seconds(60)), seconds(30));
        assert_eq!(until_renewal(seconds(0)), Duration::from_millis(500));
    }
}
