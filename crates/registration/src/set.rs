//! A set of addresses that are registered together.

use std::sync::Arc;

use model::CpmAddress;
use model::limits::ACCOUNTS_PER_SUBSCRIBER_MAX;

/// An implicit registration set: one to [`ACCOUNTS_PER_SUBSCRIBER_MAX`] distinct addresses, the one asked for first, the
/// others ascending. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationSet(Arc<[CpmAddress]>);

impl RegistrationSet {
    /// An address that is registered with no other.
    pub fn alone(address: CpmAddress) -> Self {
        Self([address].into())
    }

    /// `address` and those registered with it, in whatever order and however often named. Beyond
    /// [`ACCOUNTS_PER_SUBSCRIBER_MAX`] the last ones are left out.
    pub fn new(address: CpmAddress, others: impl IntoIterator<Item = CpmAddress>) -> Self {
        let mut rest: Vec<_> = others.into_iter().filter(|other| *other != address).collect();
        rest.sort();
        rest.dedup();
        rest.truncate(ACCOUNTS_PER_SUBSCRIBER_MAX - 1);
        Self(std::iter::once(address).chain(rest).collect())
    }

    /// Whether the address is one of them.
    pub fn contains(&self, address: &CpmAddress) -> bool {
        self.0.contains(address)
    }

    /// The addresses, the one asked for first.
    pub fn addresses(&self) -> &[CpmAddress] {
        &self.0
    }

    /// Whether there are others beside the one asked for.
    pub fn has_others(&self) -> bool {
        self.0.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_distinct_and_bounded() {
        let address = |n: usize| CpmAddress::parse(&format!("+1555{n:04}")).expect("an address");
        let set = RegistrationSet::new(address(5), [9, 1, 5, 9].map(address));
        assert_eq!(set.addresses(), [5, 1, 9].map(address));
        assert!(set.contains(&address(9)) && !set.contains(&address(2)) && set.has_others());
        let many = RegistrationSet::new(address(5), (100..200).map(address));
        assert_eq!(many.addresses().len(), ACCOUNTS_PER_SUBSCRIBER_MAX);
        assert!(!RegistrationSet::alone(address(1)).has_others());
    }
}
