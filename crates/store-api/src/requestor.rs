//! Who asks for what is asked.

use std::sync::Arc;

use model::{AccountId, DeviceId};

/// Who asks. The front end vouches for it: it has checked credentials, certificates and registration sets. What the
/// requestor may do is decided by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requestor {
    /// Somebody logged in to an account, through a front end.
    User(Arc<User>),
    /// The operator: provisioning and maintenance.
    Operator,
    /// A client that has not logged in. Nothing is there for it.
    Nobody,
}

/// Somebody logged in to an account: a device of the subscriber, or a network function that acts for the subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The active account: it owns what is asked for without further words, and is whom access control lists of
    /// other accounts name.
    pub account: AccountId,
    /// Other accounts of the same subscriber that the operator lets this one reach, at most
    /// [`model::limits::ACCOUNTS_PER_SUBSCRIBER_MAX`].
    pub siblings: Vec<AccountId>,
    /// The device at which the change is made, where it is known.
    pub device: Option<DeviceId>,
    /// A trusted network function, such as a Participating Function, that acts for the account.
    pub network: bool,
}

impl Requestor {
    /// The owner of an account, at a device that is not known.
    pub fn owner(account: AccountId) -> Self {
        Self::User(Arc::new(User::owner(account)))
    }

    /// Whether everything of an account is theirs: its owner, and the operator.
    pub fn owns(&self, account: AccountId) -> bool {
        match self {
            Self::User(user) => user.account == account,
            Self::Operator => true,
            Self::Nobody => false,
        }
    }

    /// Who is logged in; none for the operator, and for nobody.
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::User(user) => Some(user),
            Self::Operator | Self::Nobody => None,
        }
    }

    /// The device at which a change is made, where it is known.
    pub fn device(&self) -> Option<&DeviceId> {
        self.user().and_then(|user| user.device.as_ref())
    }
}

impl User {
    /// The owner of an account, at a device that is not known.
    pub fn owner(account: AccountId) -> Self {
        Self { account, siblings: Vec::new(), device: None, network: false }
    }
}
