//! Who knows registration sets.

use async_trait::async_trait;
use model::{CpmAddress, DeviceId};
use tokio::sync::broadcast;

use crate::set::RegistrationSet;

/// Why a provider could not tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(String);

impl ProviderError {
    /// With what happened, for the log.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A device whose registration ended: it heard of nothing from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The address that it was registered under.
    pub address: CpmAddress,
    /// Its contact, a SIP URI as the SIP/IP core has it.
    pub contact: String,
    /// Which device it is, by its `+sip.instance` or else its public GRUU; none if the core does not say.
    pub device: Option<DeviceId>,
}

/// Somebody who knows which addresses are registered together.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The set of an address as it is now; alone when nothing is known of it. `linked` is what the operator linked with
    /// it. Takes as long as it takes: the caller has the bound and may drop the call.
    ///
    /// # Errors
    /// When whoever knows cannot be asked.
    async fn ask(
        &self,
        address: &CpmAddress,
        linked: &[CpmAddress],
    ) -> Result<RegistrationSet, ProviderError>;

    /// Devices that depart from now on; none if this provider hears of none. Of addresses that were asked for lately
    /// only.
    fn departures(&self) -> Option<broadcast::Receiver<Departure>> {
        None
    }
}

/// What the operator linked, by `mss account link`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provisioned;

#[async_trait]
impl Provider for Provisioned {
    async fn ask(
        &self,
        address: &CpmAddress,
        linked: &[CpmAddress],
    ) -> Result<RegistrationSet, ProviderError> {
        Ok(RegistrationSet::new(address.clone(), linked.iter().cloned()))
    }
}
