//! Keys that phones make from their SIM, by the generic bootstrapping architecture (GBA): 3GPP TS 33.220, TS 33.222 §5.4.
//!
//! A phone and the operator's bootstrapping server function (BSF) agree on a key and give it a name, the B-TID. From it both
//! derive a key for each service. Here that service asks the BSF for its key, and for whom it is: `Nbsp_GBA`, operation
//! bootstrapping-info-retrieval (3GPP TS 29.309), JSON over HTTP/2. What it says is kept until the key ends, and no longer
//! than [`limits::BOOTSTRAPPED_AGE_MAX`].
//!
//! Deliberately absent: Zn by Diameter or SOAP (TS 29.109); access tokens of an NRF: who may ask is for the network between.

use std::str;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use metrics::{counter, describe_counter};
use model::CpmAddress;
use moka::sync::Cache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::keys::unhex;
use crate::limits::{
    self, ADDRESSES_MAX, BOOTSTRAPPED_AGE_MAX, BOOTSTRAPPED_MAX, BSF_ANSWER_BYTES_MAX, BSF_ASKED_MAX,
    IDENTITY_BYTES_MAX, NOBODY_AGE_MAX, NOBODY_MAX,
};
use crate::{Entry, KeySource, UaProtocol};

/// The hint that tells a client to offer such an identity (3GPP TS 24.109 §5.3.3).
pub const HINT: &str = "3GPP-bootstrapping";

/// Between two warnings in the log about questions that failed.
const TOLD_PAUSE: Duration = Duration::from_secs(10);

/// Outcomes of questions, by their names in the metric.
const OUTCOMES: [&str; 5] = ["found", "nobody", "unusable", "busy", "failed"];

/// Describes the figures and begins them at nothing.
pub fn describe() {
    describe_counter!("mss_psk_bsf_questions_total", "Questions to the bootstrapping function, by outcome.");
    for outcome in OUTCOMES {
        counter!("mss_psk_bsf_questions_total", "outcome" => outcome).increment(0);
    }
}

/// Asks a bootstrapping server function for keys.
#[derive(Debug)]
pub struct Bootstrapping {
    client: outbound::Client,
    url: Uri,
    naf: String,
    gsid: u32,
    known: Cache<Name, Known>,
    nobody: Cache<Name, ()>,
    asked: Semaphore,
    told: Mutex<Option<Instant>>,
}

/// A key's name: B-TID, whether it is one that only the SIM has, what it is used in.
type Name = (Box<str>, Holder, UaProtocol);

#[derive(Clone, Debug)]
struct Known {
    entry: Arc<Entry>,
    ends: Instant,
}

/// Which of the two keys of a B-TID a client has (3GPP TS 33.220 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    /// The phone.
    Phone,
    /// The SIM: the phone itself does not know it.
    Sim,
}

/// `BootstrappingInfoRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    bt_id: &'a str,
    naf_id: NafId<'a>,
    #[serde(rename = "gbaUAware")]
    gba_u_aware: bool,
    gs_ids: [u32; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NafId<'a> {
    naf_fqdn: &'a str,
    ua_sec_prot_id: String,
}

/// `BootstrappingInfoResponse`. Keys are borrowed, so that there is no other copy to wipe.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    me_key_material: &'a str,
    uicc_key_material: Option<&'a str>,
    key_expiry_time: Option<String>,
    impi: Option<String>,
    #[serde(default)]
    uss_list: Vec<UssItem>,
}

#[derive(Deserialize)]
struct UssItem {
    uss: Uss,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Uss {
    #[serde(default)]
    ue_ids: Vec<UeId>,
    key_choice: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UeId {
    ue_id: String,
}

/// What a question came to.
enum Outcome {
    Found(Known),
    Nobody,
    /// What came is no key for this client: said why.
    Unusable(&'static str),
}

impl Bootstrapping {
    /// `root`: the BSF's API root, as `https://bsf.example.net`; `naf`: the name by which phones know this service, which is
    /// part of its keys; `gsid`: of which service's user settings the subscriber's identities are taken.
    ///
    /// # Errors
    /// If `root` is no URL to build on.
    pub fn new(client: outbound::Client, root: &Uri, naf: &str, gsid: u32) -> Result<Self, http::Error> {
        let path = format!("{}/nbsp-gba/v1/bootstrapping-info-retrieval", root.path().trim_end_matches('/'));
        let mut parts = root.clone().into_parts();
        parts.path_and_query = Some(path.parse().map_err(http::Error::from)?);
        Ok(Self {
            client,
            url: Uri::from_parts(parts)?,
            naf: naf.to_owned(),
            gsid,
            known: Cache::builder().max_capacity(BOOTSTRAPPED_MAX).time_to_live(BOOTSTRAPPED_AGE_MAX).build(),
            nobody: Cache::builder().max_capacity(NOBODY_MAX).time_to_live(NOBODY_AGE_MAX).build(),
            asked: Semaphore::new(BSF_ASKED_MAX),
            told: Mutex::default(),
        })
    }

    async fn ask(&self, name: &Name) -> Result<Outcome, String> {
        let (bt_id, holder, protocol) = name;
        let naf_id = NafId { naf_fqdn: &self.naf, ua_sec_prot_id: protocol.to_string() };
        let question = Question { bt_id, naf_id, gba_u_aware: true, gs_ids: [self.gsid] };
        let body = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        let request = Request::post(self.url.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json, application/problem+json")
            .header(http::header::USER_AGENT, concat!("mss/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::from(body).into())
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(request, BSF_ANSWER_BYTES_MAX).await.map_err(|e| e.to_string())?;
        match answer.status() {
            StatusCode::OK => {
                let body = answer.into_body().map_err(|error| error.to_string())?;
                Ok(read(&body, *holder, Instant::now()))
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(Outcome::Nobody),
            other => Err(format!("it answered {}", other.as_u16())),
        }
    }

    /// To the log; where it is told already that something is wrong, only to who looks closely.
    fn tell(&self, what: &str) {
        let mut told = self.told.lock();
        if told.is_some_and(|told| told.elapsed() < TOLD_PAUSE) {
            tracing::debug!(url = %self.url, "the bootstrapping function: {what}");
        } else {
            *told = Some(Instant::now());
            tracing::warn!(url = %self.url, "the bootstrapping function: {what}");
        }
    }
}

#[async_trait]
impl KeySource for Bootstrapping {
    async fn find(&self, identity: &[u8], protocol: UaProtocol) -> Option<Arc<Entry>> {
        let (holder, bt_id) = split(identity)?;
        let name = (bt_id.into(), holder, protocol);
        if let Some(known) = self.known.get(&name) {
            if Instant::now() < known.ends {
                return Some(known.entry);
            }
            self.known.invalidate(&name);
        }
        if self.nobody.contains_key(&name) {
            return None;
        }
        let count = |outcome: &'static str| {
            counter!("mss_psk_bsf_questions_total", "outcome" => outcome).increment(1);
        };
        let Ok(_turn) = self.asked.try_acquire() else {
            count("busy");
            return None;
        };
        match self.ask(&name).await {
            Ok(Outcome::Found(known)) => {
                count("found");
                self.known.insert(name, known.clone());
                Some(known.entry)
            }
            Ok(Outcome::Nobody) => {
                count("nobody");
                self.nobody.insert(name, ());
                None
            }
            Ok(Outcome::Unusable(why)) => {
                count("unusable");
                self.tell(why);
                self.nobody.insert(name, ());
                None
            }
            Err(error) => {
                count("failed");
                self.tell(&error);
                None
            }
        }
    }
}

/// A prefix that says what kind of key it is, a separator, and the B-TID: base64, `@`, the BSF's domain (3GPP TS 33.220
/// §4.5.2). The separator is `;` or, as phones are tested with (3GPP TS 36.508 §4.7H), a full stop.
fn split(identity: &[u8]) -> Option<(Holder, &str)> {
    if identity.len() > IDENTITY_BYTES_MAX {
        return None;
    }
    let rest = str::from_utf8(identity).ok()?.strip_prefix(HINT)?;
    let (kind, bt_id) = rest.split_once([';', '.'])?;
    let holder = match kind {
        // Of a phone without a SIM of GBA, by its password: one key, as the first.
        "" | "-digest" => Holder::Phone,
        "-uicc" => Holder::Sim,
        _ => return None,
    };
    let (random, domain) = bt_id.split_once('@')?;
    let graphic = bt_id.bytes().all(|b| b.is_ascii_graphic());
    (graphic && !random.is_empty() && !domain.is_empty()).then_some((holder, bt_id))
}

fn read(body: &[u8], holder: Holder, now: Instant) -> Outcome {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Outcome::Unusable("its answer is no BootstrappingInfoResponse");
    };
    // TS 29.109 §4.2: the home operator may want that the key of the SIM is used.
    let sim_only =
        answer.uss_list.iter().any(|item| item.uss.key_choice.as_deref() == Some("UICC_BASED_KEY"));
    let digits = match holder {
        Holder::Phone if sim_only => return Outcome::Unusable("a key of the SIM is wanted, not the phone's"),
        Holder::Phone => answer.me_key_material,
        Holder::Sim => match answer.uicc_key_material {
            Some(digits) => digits,
            None => return Outcome::Unusable("it has no key of the SIM"),
        },
    };
    let Some(key) = unhex(digits).filter(|key| limits::KEY_BYTES.contains(&key.len())) else {
        return Outcome::Unusable("its key is not hexadecimal digits of 16 to 64 bytes");
    };
    let left = match answer.key_expiry_time.as_deref().map(str::parse::<jiff::Timestamp>) {
        None => BOOTSTRAPPED_AGE_MAX,
        Some(Err(_)) => return Outcome::Unusable("its keyExpiryTime is no time"),
        Some(Ok(ends)) => match Duration::try_from(ends.duration_since(jiff::Timestamp::now())) {
            Ok(left) if !left.is_zero() => left.min(BOOTSTRAPPED_AGE_MAX),
            _ => return Outcome::Unusable("its key has ended"),
        },
    };
    let entry = Entry { key: Zeroizing::new(key.to_vec()), addresses: addresses(&answer), device: None };
    Outcome::Found(Known { entry: Arc::new(entry), ends: now + left })
}

/// Public identities; where it has none, the one that is made from the private one (3GPP TS 23.003 §13.4B).
fn addresses(answer: &Answer<'_>) -> Vec<CpmAddress> {
    let mut addresses: Vec<CpmAddress> = Vec::new();
    for ue in answer.uss_list.iter().flat_map(|item| &item.uss.ue_ids) {
        if let Ok(address) = CpmAddress::parse(&ue.ue_id)
            && !addresses.contains(&address)
            && addresses.len() < ADDRESSES_MAX
        {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        let temporary = answer.impi.as_ref().and_then(|impi| CpmAddress::parse(&format!("sip:{impi}")).ok());
        addresses.extend(temporary);
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        let b_tid = "c29tZSByYW5kb20gMTZieXRl@bsf.mnc01.mcc001.pub.3gppnetwork.org";
        for (prefix, holder) in [
            ("3GPP-bootstrapping;", Holder::Phone),
            ("3GPP-bootstrapping.", Holder::Phone),
            ("3GPP-bootstrapping-digest;", Holder::Phone),
            ("3GPP-bootstrapping-uicc;", Holder::Sim),
        ] {
            assert_eq!(split(format!("{prefix}{b_tid}").as_bytes()), Some((holder, b_tid)), "{prefix}");
        }
        for none in ["", "3GPP-bootstrapping", "3GPP-bootstrapping;", "3GPP-bootstrapping-x;a@b", "phone;a@b"]
        {
            assert_eq!(split(none.as_bytes()), None, "{none}");
        }
        for none in ["3GPP-bootstrapping;@b", "3GPP-bootstrapping;a@", "3GPP-bootstrapping;a b@c"] {
            assert_eq!(split(none.as_bytes()), None, "{none}");
        }
        assert_eq!(split(b"3GPP-bootstrapping;\xff@b"), None);
        assert_eq!(split(format!("3GPP-bootstrapping;{}@b", "a".repeat(128)).as_bytes()), None);
    }

    #[test]
    fn protocols_are_written_as_they_are_asked_for() {
        assert_eq!(UaProtocol::TLS13.to_string(), "0100000007");
        assert_eq!(UaProtocol::tls12(0x00A8).to_string(), "01000100a8");
    }

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn found(json: &str, holder: Holder) -> Result<(Vec<u8>, Vec<String>, Duration), &'static str> {
        let now = Instant::now();
        match read(json.replace("KS_NAF", KEY).as_bytes(), holder, now) {
            Outcome::Found(known) => {
                let addresses = known.entry.addresses.iter().map(ToString::to_string).collect();
                Ok((known.entry.key.to_vec(), addresses, known.ends - now))
            }
            Outcome::Nobody => Err("nobody"),
            Outcome::Unusable(why) => Err(why),
        }
    }

    #[test]
    fn answers() {
        let uss = r#""ussList": [{"uss": {"gsId": 0, "gsType": 0, "ueIds": [{"ueId": "sip:alice@example.com"},
            {"ueId": "tel:+15550000001"}, {"ueId": "nonsense"}, {"ueId": "sip:alice@example.com"}]}}]"#;
        let impi = r#""impi": "001010123456789@ims.mnc01.mcc001.3gppnetwork.org""#;
        let whole = format!(r#"{{"meKeyMaterial": "KS_NAF", {impi}, {uss}, "gbaType": "3G_GBA"}}"#);
        let (key, addresses, left) = found(&whole, Holder::Phone).unwrap();
        assert_eq!((key.len(), key[31], left), (32, 31, BOOTSTRAPPED_AGE_MAX));
        assert_eq!(addresses, ["sip:alice@example.com", "tel:+15550000001"]);
        assert!(found(&whole, Holder::Sim).is_err(), "a key that is not there");

        let private =
            format!(r#"{{"meKeyMaterial": "KS_NAF", "uiccKeyMaterial": "{}", {impi}}}"#, "ab".repeat(32));
        let (key, addresses, _) = found(&private, Holder::Sim).unwrap();
        assert_eq!(
            (key[0], addresses),
            (0xab, vec!["sip:001010123456789@ims.mnc01.mcc001.3gppnetwork.org".into()])
        );

        let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let short = format!(r#"{{"meKeyMaterial": "KS_NAF", "keyExpiryTime": "{ends}"}}"#);
        let (_, addresses, left) = found(&short, Holder::Phone).unwrap();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
        assert!(addresses.is_empty(), "TLS, and nobody's account");
    }

    #[test]
    fn answers_that_are_none() {
        for wrong in [
            "",
            "{}",
            r#"{"meKeyMaterial": "abc"}"#,
            r#"{"meKeyMaterial": "abcd"}"#,
            r#"{"meKeyMaterial": 7}"#,
            r#"{"meKeyMaterial": "KS_NAF", "keyExpiryTime": "tomorrow"}"#,
            r#"{"meKeyMaterial": "KS_NAF", "keyExpiryTime": "2020-01-01T00:00:00Z"}"#,
            r#"{"meKeyMaterial": "KS_NAF", "ussList": [{"uss": {"ueIds": [], "keyChoice": "UICC_BASED_KEY"}}]}"#,
        ] {
            let why = found(wrong, Holder::Phone).expect_err(wrong);
            assert!(!why.contains(KEY));
        }
    }
}
