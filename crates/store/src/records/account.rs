//! The record of an account in the directory.

use model::limits::ACCOUNTS_PER_SUBSCRIBER_MAX;
use model::{AccountId, CpmAddress};
use store_api::{Account, AccountState, Credentials, QuotaLimits, ScramVerifier, ServiceClass};

use super::codec::{Reader, Writer};

/// Version 2 has the linked addresses behind what version 1 has, version 3 the class of service behind these. An account
/// of the common class is written as version 2, which is all of it.
const VERSION: u8 = 3;

/// What the directory holds of an account: all that login needs, under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its identity.
    pub id: AccountId,
    /// Whether it may be used.
    pub state: AccountState,
    /// How its owner proves who they are.
    pub credentials: Credentials,
    /// Its quota; the ledger has it too, for those who know the account by its id.
    pub limits: QuotaLimits,
    /// When it was created, seconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// Addresses of the same subscriber's other accounts, ascending, at most
    /// [`model::limits::ACCOUNTS_PER_SUBSCRIBER_MAX`] less one.
    pub linked: Vec<CpmAddress>,
    /// Its class of service; the ledger has it too.
    pub service: ServiceClass,
}

impl AccountRecord {
    /// The account of that address.
    pub fn into_account(self, address: CpmAddress) -> Account {
        let Self { id, state, credentials, limits, created_at, linked, service } = self;
        Account { id, address, state, credentials, limits, service, created_at, linked }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let version = if self.service == ServiceClass::default() { 2 } else { VERSION };
        let mut out = Writer::new(version, 160);
        out.fixed(&self.id.0.to_be_bytes());
        out.u8(match self.state {
            AccountState::Active => 1,
            AccountState::Disabled => 2,
        });
        out.optional(self.limits.bytes).optional(self.limits.messages).signed(self.created_at);
        match &self.credentials {
            Credentials::None => out.u8(0),
            Credentials::Scram(keys) => {
                out.u8(1).number(u64::from(keys.iterations)).counted(&keys.salt);
                out.fixed(&keys.stored_key).fixed(&keys.server_key)
            }
            Credentials::Argon2(phc) => out.u8(2).counted(phc.as_bytes()),
        };
        out.number(self.linked.len() as u64);
        for address in &self.linked {
            out.counted(address.as_str().as_bytes());
        }
        if version > 2 {
            out.u8(self.service.bits());
        }
        out.done()
    }

    /// Reads a stored form of any version; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (version @ 1..=VERSION, mut input) = Reader::new(record)? else { return None };
        let id = AccountId(u64::from_be_bytes(input.fixed(8)?.try_into().ok()?));
        let state = match input.u8()? {
            1 => AccountState::Active,
            2 => AccountState::Disabled,
            _ => return None,
        };
        let limits = QuotaLimits { bytes: input.optional()?, messages: input.optional()? };
        let created_at = input.signed()?;
        let credentials = match input.u8()? {
            0 => Credentials::None,
            1 => Credentials::Scram(ScramVerifier {
                iterations: input.u32()?,
                salt: input.counted()?.to_vec(),
                stored_key: input.fixed(32)?.try_into().ok()?,
                server_key: input.fixed(32)?.try_into().ok()?,
            }),
            2 => Credentials::Argon2(input.text()?.to_owned()),
            _ => return None,
        };
        let mut linked = Vec::new();
        if version >= 2 {
            let count = usize::try_from(input.number()?).ok()?;
            if count >= ACCOUNTS_PER_SUBSCRIBER_MAX {
                return None;
            }
            for _ in 0..count {
                linked.push(CpmAddress::parse(input.text()?).ok()?);
            }
            if !linked.is_sorted_by(|a, b| a < b) {
                return None;
            }
        }
        let service = match version {
            1 | 2 => ServiceClass::default(),
            _ => ServiceClass::from_bits(input.u8()?).filter(|class| *class != ServiceClass::default())?,
        };
        input.end(Self { id, state, credentials, limits, created_at, linked, service })
    }
}
