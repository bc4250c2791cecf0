//! Which addresses of a subscriber are registered together, from whoever knows it.
//!
//! Once somebody has logged in to one CPM address, all addresses of its implicit registration set (3GPP TS 23.228
//! §5.2.1a) count as logged in (OMA-TS-CPM_MessageStorage, Authenticate Operation). Who knows the set is a
//! [`Provider`]: what the operator linked ([`Provisioned`]), or the SIP/IP core (crate `reg-event`). [`Registrations`]
//! stands before it: no login waits for a provider longer than a bound, what was heard last is remembered for when the
//! provider cannot tell, and what a login could not wait for is asked again behind its back.
//!
//! It is a crate of its own, below `imap-server`, so that a front end knows the question and no provider's protocol; and
//! it knows no store, since what the operator linked comes with the account that a login reads anyway.
//!
//! Deliberately absent: SIP, the store, sessions. Which of the addresses have accounts is for the front end to find out.

pub mod limits;
mod provider;
mod registrations;
mod set;
mod telemetry;

pub use provider::{Departure, Provider, ProviderError, Provisioned};
pub use registrations::{Known, Options, Registrations};
pub use set::RegistrationSet;
